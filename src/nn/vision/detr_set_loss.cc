// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/set_loss.h"

#include <limits>
#include <stdexcept>

#include "nn/vision/detr_assignment.h"

namespace regard::nn {
namespace {

void check_target(const DetectionTarget& target, std::int64_t classes) {
  if (target.classes.dim() != 1 || target.boxes.dim() != 2 || target.boxes.size(1) != 4 ||
      target.boxes.size(0) != target.classes.size(0))
    throw std::invalid_argument("targets: expected classes (objects) and boxes (objects, 4)");
  if (target.classes.numel() == 0) return;
  const auto least = target.classes.min().item<std::int64_t>(),
             most = target.classes.max().item<std::int64_t>();
  if (least < 0 || most >= classes)
    throw std::invalid_argument("targets: class " + std::to_string(least < 0 ? least : most) +
                                "; expected 0 to " + std::to_string(classes - 1));
}

}  // namespace

torch::Tensor generalized_iou(const torch::Tensor& a, const torch::Tensor& b) {
  const auto sizes = [](const torch::Tensor& x) { return x.slice(-1, 2, 4); };
  const auto low = [&](const torch::Tensor& x) { return x.slice(-1, 0, 2) - sizes(x) / 2; };
  const auto high = [&](const torch::Tensor& x) { return x.slice(-1, 0, 2) + sizes(x) / 2; };
  const auto area = [](const torch::Tensor& x) { return x.select(-1, 0) * x.select(-1, 1); };
  const torch::Tensor shared =
      area((torch::min(high(a), high(b)) - torch::max(low(a), low(b))).clamp_min(0));
  const torch::Tensor around = area(torch::max(high(a), high(b)) - torch::min(low(a), low(b)));
  const torch::Tensor either = area(sizes(a)) + area(sizes(b)) - shared;
  return shared / either - (around - either) / around;
}

std::vector<std::int64_t> match_objects(const torch::Tensor& logits, const torch::Tensor& boxes,
                                        const DetectionTarget& target,
                                        const SetLossOptions& options) {
  const torch::NoGradGuard no_gradients;
  const std::int64_t objects = target.classes.size(0), queries = logits.size(0);
  if (objects == 0) return {};
  const torch::Tensor ours = boxes.to(torch::kFloat32).unsqueeze(0),
                      theirs = target.boxes.to(torch::kFloat32).unsqueeze(1);
  const torch::Tensor likely =
      logits.to(torch::kFloat32).softmax(-1).t().index_select(0, target.classes);
  const torch::Tensor costs =
      (options.box_cost * (ours - theirs).abs().sum(-1) - options.class_cost * likely -
       options.giou_cost * generalized_iou(ours, theirs))
          .to(torch::kFloat64);
  constexpr double kGreatest = std::numeric_limits<float>::max();
  const torch::Tensor finite =
      torch::where(costs.isfinite(), costs, torch::full({}, kGreatest, torch::kFloat64))
          .contiguous();
  const double* first = finite.data_ptr<double>();
  return assign({first, first + finite.numel()}, objects, queries);
}

SetLoss set_loss(const torch::Tensor& logits, const torch::Tensor& boxes,
                 const std::vector<DetectionTarget>& targets, const SetLossOptions& options) {
  const std::int64_t batch = logits.size(0), queries = logits.size(1);
  const std::int64_t no_object = logits.size(2) - 1;
  if (static_cast<std::int64_t>(targets.size()) != batch)
    throw std::invalid_argument("targets: " + std::to_string(targets.size()) + "; expected " +
                                std::to_string(batch) + ", one for each image");
  torch::Tensor wanted = torch::full({batch * queries}, no_object, torch::kInt64);
  std::int64_t* wanted_of = wanted.data_ptr<std::int64_t>();
  std::vector<std::int64_t> places;
  std::vector<torch::Tensor> found;
  std::int64_t objects = 0;
  for (std::int64_t image = 0; image < batch; ++image) {
    const DetectionTarget& target = targets[static_cast<std::size_t>(image)];
    check_target(target, no_object);
    objects += target.classes.size(0);
    const auto matched = match_objects(logits[image], boxes[image], target, options);
    for (std::size_t i = 0; i < matched.size(); ++i) {
      if (matched[i] < 0) continue;
      const auto object = static_cast<std::int64_t>(i);
      places.push_back(image * queries + matched[i]);
      wanted_of[places.back()] = target.classes[object].item<std::int64_t>();
      found.push_back(target.boxes[object]);
    }
  }
  torch::Tensor weight = torch::ones({no_object + 1});
  weight[no_object] = options.no_object_weight;
  SetLoss result;
  result.loss = torch::nn::functional::cross_entropy(
      logits.flatten(0, 1).to(torch::kFloat32), wanted,
      torch::nn::functional::CrossEntropyFuncOptions().weight(weight));
  result.classes = result.loss.item<double>();
  if (found.empty()) return result;
  const torch::Tensor ours =
      boxes.flatten(0, 1).to(torch::kFloat32).index_select(0, torch::tensor(places));
  const torch::Tensor theirs = torch::stack(found).to(torch::kFloat32);
  const auto count = static_cast<double>(objects);
  const torch::Tensor apart = (ours - theirs).abs().sum() / count;
  const torch::Tensor missed = (1 - generalized_iou(ours, theirs)).sum() / count;
  result.loss = result.loss + options.box_weight * apart + options.giou_weight * missed;
  result.boxes = apart.item<double>();
  result.giou = missed.item<double>();
  return result;
}

}  // namespace regard::nn
