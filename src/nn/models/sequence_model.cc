// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/sequence_model.h"

#include <stdexcept>

namespace regard::nn {

torch::Tensor SequenceModel::forward(const torch::Tensor& source,
                                     const torch::Tensor& source_lengths,
                                     const torch::Tensor& target_in) {
  return logits(features(source, source_lengths, target_in));
}

torch::Tensor SequenceModel::first_tokens(const torch::Tensor& source, const torch::Tensor&) const {
  return torch::full({source.size(0)}, kBegin, torch::kInt64);
}

std::shared_ptr<SequenceModel> make_model(const nlohmann::json& config) {
  auto model = std::dynamic_pointer_cast<SequenceModel>(build_model(config));
  if (model == nullptr)
    throw std::invalid_argument("kind: " + config["kind"].dump() + " is not a model of sequences");
  return model;
}

}  // namespace regard::nn
