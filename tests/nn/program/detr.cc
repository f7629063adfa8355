// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/detr.h"

#include "nn/vision/detr_assignment.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/pretrained.h"
#include "request.h"
#include "train/autocast.h"

namespace nn = regard::nn;

namespace {

std::shared_ptr<nn::Detr> detr_of(Request& request) {
  if (request.json.contains("pretrained"))
    return nn::open_model<nn::Detr>(request.json["pretrained"].get<std::string>(),
                                    request.json.value("changes", nlohmann::json::object()));
  const auto model = std::dynamic_pointer_cast<nn::Detr>(nn::build_model(request.json["config"]));
  if (!request.json.value("fresh", false)) request.load(*model);
  return model;
}

}  // namespace

// "pixels", "mask" where images are padded, and "classes.N" and "boxes.N" of each image N. Answers
// logits, boxes, states, weights, all parameters ("p.NAME"); with targets also the loss, its parts,
// and all parameters' gradients ("d.p.NAME").
void run_detr(Request& request) {
  const auto model = detr_of(request);
  for (auto& parameter : model->named_parameters()) {
    parameter.value().requires_grad_(true);
    request.leaves["p." + parameter.key()] = parameter.value();
  }
  for (const auto& [name, tensor] : nn::named_tensors(*model)) request.out["p." + name] = tensor;
  const torch::Tensor pixels = request.tensor("pixels");
  torch::Tensor mask = request.optional("mask");
  if (mask.defined()) mask = mask.to(torch::kBool);
  const regard::train::Autocast autocast(request.json.value("bf16", false));
  {
    const torch::NoGradGuard no_gradients;
    nn::DetrStates states;
    const auto outputs = model->forward(pixels, mask, /*every_layer=*/true, &states);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      request.out["logits." + std::to_string(i)] = outputs[i].logits;
      request.out["boxes." + std::to_string(i)] = outputs[i].boxes;
    }
    for (std::size_t i = 0; i < states.encoder.size(); ++i)
      request.out["encoder." + std::to_string(i)] = states.encoder[i];
    for (std::size_t i = 0; i < states.decoder.size(); ++i)
      request.out["decoder." + std::to_string(i)] = states.decoder[i];
    request.out["weights"] = states.weights;
  }
  if (!request.in.contains("classes.0")) return;
  std::vector<nn::DetectionTarget> targets;
  for (std::int64_t i = 0; i < pixels.size(0); ++i)
    targets.push_back({request.tensor("classes." + std::to_string(i)),
                       request.tensor("boxes." + std::to_string(i))});
  const nn::SetLoss loss = model->loss(pixels, mask, targets);
  request.out["parts"] = torch::tensor({loss.classes, loss.boxes, loss.giou});
  request.in["d_out"] = torch::ones({});
  request.answer(loss.loss);
}

// "costs" (rows, columns) -> each row's column, or -1.
void run_assign(Request& request) {
  const torch::Tensor costs = request.tensor("costs").to(torch::kFloat64).contiguous();
  const double* first = costs.data_ptr<double>();
  request.out["columns"] = torch::tensor(
      nn::assign({first, first + costs.numel()}, costs.size(0), costs.size(1)), torch::kInt64);
}
