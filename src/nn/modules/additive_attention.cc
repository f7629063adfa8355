// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/additive_attention.h"

#include <cmath>

#include "nn/steps/memory_steps.h"

namespace regard::nn {

AdditiveAttentionImpl::AdditiveAttentionImpl(std::int64_t query_dim, std::int64_t annotation_dim,
                                             std::int64_t dim) {
  const auto linear = [](std::int64_t from, std::int64_t to) {
    return torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(false));
  };
  query_ = register_module("query", linear(query_dim, dim));
  key_ = register_module("key", linear(annotation_dim, dim));
  const double bound = 1 / std::sqrt(static_cast<double>(dim));
  v_ = register_parameter("v", torch::empty({dim}).uniform_(-bound, bound));
}

AttentionMemory AdditiveAttentionImpl::memory(const torch::Tensor& annotations,
                                              const torch::Tensor& lengths) {
  const torch::Tensor keys = key_->forward(annotations);
  return with_steps({keys, annotations, lengths, prepare_keys(keys), v_, nullptr});
}

AttentionOptions AdditiveAttentionImpl::options(const AttentionMemory& memory) const {
  AttentionOptions options;
  options.additive_v = memory.v;
  if (memory.prepared.defined()) options.prepared_keys = memory.prepared.unsqueeze(1);
  if (memory.lengths.defined()) options.mask = key_lengths(memory.lengths);
  return options;
}

torch::Tensor AdditiveAttentionImpl::forward(const torch::Tensor& query,
                                             const AttentionMemory& memory) {
  const torch::Tensor projected = step_linear("query", query, query_->weight, memory);
  return attend(projected.unsqueeze(1), memory, options(memory)).squeeze(1);
}

torch::Tensor AdditiveAttentionImpl::weights(const torch::Tensor& query,
                                             const AttentionMemory& memory) {
  torch::NoGradGuard no_grad;
  return attention_map(query_->forward(query).unsqueeze(1), memory.keys.unsqueeze(1),
                       options(memory))
      .squeeze(1);
}

}  // namespace regard::nn
