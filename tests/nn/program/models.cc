// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/checkpoint.h"
#include "regard/nn/llama.h"
#include "regard/nn/loss.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/sequence_model.h"
#include "request.h"

namespace nn = regard::nn;
using nlohmann::json;

namespace {

// A model from a config, with the request's parameters where it brings any; or from a folder.
std::shared_ptr<nn::SequenceModel> model_of(Request& request) {
  if (request.json.contains("folder"))
    return nn::load_model(request.json["folder"].get<std::string>());
  if (request.json.contains("pretrained"))
    return nn::load_pretrained(request.json["pretrained"].get<std::string>());
  auto model = nn::make_model(request.json.at("config"));
  if (request.json.value("fresh", false)) return model;  // with parameters as drawn
  request.load(*model);
  return model;
}

}  // namespace

void run_model(Request& request) {
  const auto model = model_of(request);
  const torch::Tensor source = request.tensor("source"), lengths = request.tensor("lengths"),
                      target = request.tensor("target");
  if (request.json.value("alignment", false))
    request.out["alignment"] = model->alignment(source, lengths, target);
  request.answer(model->forward(source, lengths, target));
}

// "steps": a list of {"tokens": [...]} (none: the likeliest of the last step, or the first tokens),
// {"reorder": [...]}. Answers logits.N and, where asked for, weights.N of each step.
void run_decode(Request& request) {
  const auto model = model_of(request);
  const torch::Tensor source = request.tensor("source"), lengths = request.tensor("lengths");
  const auto state = model->start(source, lengths, request.json.at("max_length"));
  torch::Tensor tokens = model->first_tokens(source, lengths);
  std::vector<torch::Tensor> chosen;
  int number = 0;
  for (const json& step : request.json.at("steps")) {
    if (step.contains("reorder")) {
      state->reorder(torch::tensor(step["reorder"].get<std::vector<std::int64_t>>()));
      continue;
    }
    if (step.contains("tokens"))
      tokens = torch::tensor(step["tokens"].get<std::vector<std::int64_t>>());
    const torch::Tensor logits = model->step(*state, tokens);
    const std::string suffix = "." + std::to_string(number++);
    if (!request.json.value("only_tokens", false)) request.out["logits" + suffix] = logits;
    if (request.json.value("weights", false))
      request.out["weights" + suffix] = model->attention_weights(*state);
    tokens = logits.argmax(-1);
    request.out["tokens" + suffix] = tokens;
  }
}

void run_hidden_states(Request& request) {
  const auto model = model_of(request);
  torch::NoGradGuard no_grad;
  int number = 0;
  for (const torch::Tensor& state :
       dynamic_cast<nn::Llama&>(*model).hidden_states(request.tensor("target")))
    request.out["hidden." + std::to_string(number++)] = state;
}

void run_loss(Request& request) {
  const auto model = model_of(request);
  const nn::SequenceLoss loss =
      nn::sequence_loss(*model,
                        {request.tensor("source"), request.tensor("lengths"),
                         request.tensor("target"), request.tensor("target_out")},
                        request.json.value("smoothing", 0.0), request.json.value("chunk", 1024));
  request.out["nll"] = torch::tensor(loss.nll);
  request.answer(loss.loss);
}

void run_checkpoint(Request& request) {
  const std::string folder = request.json.at("save_to");
  const auto model = model_of(request);
  nn::save_model(folder, *model);
  request.out = nn::named_tensors(*model);
}
