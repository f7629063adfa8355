// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/loss.h"

#include <algorithm>
#include <stdexcept>

namespace regard::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A sum whose gradients are known already: those of a loss are proportional to what arrives.
struct Known : torch::autograd::Function<Known> {
  static torch::Tensor forward(AutogradContext* context, at::TensorList inputs,
                               const torch::Tensor& value, const variable_list& gradients) {
    static_cast<void>(inputs);
    context->saved_data["gradients"] = gradients;
    return value.clone();
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    variable_list result = context->saved_data["gradients"].toTensorVector();
    const std::size_t inputs = result.size();
    for (torch::Tensor& gradient : result)
      if (gradient.defined()) gradient = gradient * arrived[0];
    result.resize(inputs + 2);  // none for the value and the gradients
    return result;
  }
};

struct Sums {
  torch::Tensor loss, nll;
};

Sums chunk_sums(SequenceModel& model, const torch::Tensor& features, const torch::Tensor& target,
                double smoothing) {
  const torch::Tensor log_p =
      torch::log_softmax(model.logits(features).to(torch::kFloat32), /*dim=*/-1);
  const torch::Tensor nll = torch::nll_loss(log_p, target, {}, at::Reduction::Sum);
  if (smoothing == 0) return {nll, nll.detach()};
  const torch::Tensor spread = -log_p.sum() / log_p.size(-1);
  return {nll * (1 - smoothing) + spread * smoothing, nll.detach()};
}

// Which targets count, (batch, target_len).
torch::Tensor counted(const SequenceModel& model, const Batch& batch) {
  const torch::Tensor& target = batch.target_out;
  if (batch.target_lengths.defined()) {
    const torch::Tensor& lengths = batch.target_lengths;
    if (lengths.dim() != 1 || lengths.size(0) != target.size(0) ||
        lengths.scalar_type() != torch::kInt64)
      throw std::invalid_argument("target_lengths: expected (batch) int64");
    return torch::arange(target.size(1)).unsqueeze(0).lt(lengths.unsqueeze(1));
  }
  const auto padding = model.padding_token();
  return padding ? target.ne(*padding) : torch::ones_like(target, torch::kBool);
}

}  // namespace

SequenceLoss sequence_loss(SequenceModel& model, const Batch& batch, double smoothing,
                           std::int64_t chunk) {
  if (!batch.target_in.defined() || !batch.target_out.defined() ||
      batch.target_out.sizes() != batch.target_in.sizes())
    throw std::invalid_argument("target_out: expected the shape of target_in");
  const torch::Tensor places = counted(model, batch).reshape(-1).nonzero().squeeze(1);
  if (places.size(0) == 0) throw std::invalid_argument("target_out: nothing but padding");
  const torch::Tensor target = batch.target_out.reshape(-1).index_select(0, places);
  const torch::Tensor features = model.features(batch.source, batch.source_lengths, batch.target_in)
                                     .flatten(0, 1)
                                     .index_select(0, places);
  return token_loss(model, features, target, smoothing, chunk);
}

SequenceLoss token_loss(SequenceModel& model, const torch::Tensor& features,
                        const torch::Tensor& target, double smoothing, std::int64_t chunk) {
  if (!(smoothing >= 0 && smoothing < 1))
    throw std::invalid_argument("smoothing: " + std::to_string(smoothing) +
                                "; expected a number from 0 and below 1");
  SequenceLoss result;
  result.tokens = target.size(0);
  const bool with_gradients = torch::GradMode::is_enabled();
  variable_list inputs{features};
  for (const torch::Tensor& parameter : model.output_parameters())
    if (parameter.requires_grad()) inputs.push_back(parameter);
  variable_list gradients(inputs.size());
  variable_list feature_gradients;
  torch::Tensor loss = torch::zeros({}, torch::kFloat32), nll = torch::zeros({}, torch::kFloat32);
  for (std::int64_t begin = 0; begin < result.tokens; begin += chunk) {
    const std::int64_t count = std::min(chunk, result.tokens - begin);
    const torch::Tensor part =
        features.detach().narrow(0, begin, count).requires_grad_(with_gradients);
    const Sums sums = chunk_sums(model, part, target.narrow(0, begin, count), smoothing);
    loss += sums.loss.detach();
    nll += sums.nll;
    if (!with_gradients) continue;
    variable_list leaves = inputs;
    leaves[0] = part;
    const variable_list found = torch::autograd::grad({sums.loss}, leaves);
    feature_gradients.push_back(found[0] / result.tokens);
    for (std::size_t i = 1; i < found.size(); ++i)
      gradients[i] = gradients[i].defined() ? gradients[i].add_(found[i]) : found[i].clone();
  }
  loss /= result.tokens;
  result.nll = nll.item<double>() / static_cast<double>(result.tokens);
  if (!with_gradients) {
    result.loss = loss;
    return result;
  }
  gradients[0] = torch::cat(feature_gradients);
  for (std::size_t i = 1; i < gradients.size(); ++i) gradients[i].div_(result.tokens);
  result.loss = Known::apply(at::TensorList(inputs), loss, gradients);
  return result;
}

}  // namespace regard::nn
