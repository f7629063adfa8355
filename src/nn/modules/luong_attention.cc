// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/luong_attention.h"

#include <cmath>
#include <stdexcept>

#include "nn/steps/memory_steps.h"

namespace regard::nn {
namespace {

torch::Tensor uniform(std::vector<std::int64_t> sizes) {
  const double bound = 1 / std::sqrt(static_cast<double>(sizes.back()));
  return torch::empty(sizes).uniform_(-bound, bound);
}

torch::nn::Linear plain_linear(std::int64_t from, std::int64_t to) {
  return torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(false));
}

}  // namespace

LuongAttentionImpl::LuongAttentionImpl(const LuongOptions& options) : options_(options) {
  const auto [score, reach, query_dim, source_dim, window, positions] = options;
  if (query_dim < 1 || source_dim < 1 || window < 1 || positions < 1)
    throw std::invalid_argument(
        "LuongAttention: query_dim, source_dim, window and positions: expected at least 1 each");
  if (score == LuongScore::kDot && query_dim != source_dim)
    throw std::invalid_argument("LuongAttention: query_dim " + std::to_string(query_dim) +
                                " and source_dim " + std::to_string(source_dim) +
                                ": the dot score needs them equal");
  if (score == LuongScore::kGeneral)
    weight_ = register_parameter("weight", uniform({query_dim, source_dim}));
  if (score == LuongScore::kConcat) {
    weight_ = register_parameter("weight", uniform({query_dim, query_dim + source_dim}));
    v_ = register_parameter("v", uniform({query_dim}));
  }
  if (score == LuongScore::kLocation)
    weight_ = register_parameter("weight", uniform({positions, query_dim}));
  if (reach == LuongReach::kLocalP) {
    place_ = register_module("place", plain_linear(query_dim, query_dim));
    place_v_ = register_parameter("place_v", uniform({query_dim}));
  }
  output_ = register_module("output", plain_linear(source_dim + query_dim, query_dim));
}

AttentionMemory LuongAttentionImpl::memory(const torch::Tensor& source,
                                           const torch::Tensor& lengths) {
  switch (options_.score) {
    case LuongScore::kDot:
    case LuongScore::kGeneral: return with_steps({source, source, lengths, {}, {}, nullptr});
    case LuongScore::kConcat: {
      const torch::Tensor keys =
          torch::matmul(source, weight_.narrow(1, options_.query_dim, options_.source_dim).t());
      return with_steps({keys, source, lengths, prepare_keys(keys), v_, nullptr});
    }
    case LuongScore::kLocation: break;
  }
  if (source.size(1) > options_.positions)
    throw std::invalid_argument("source: " + std::to_string(source.size(1)) +
                                " positions; the location score has weights for " +
                                std::to_string(options_.positions));
  const torch::Tensor keys = weight_.narrow(0, 0, source.size(1));
  return with_steps({keys.expand({source.size(0), -1, -1}), source, lengths, {}, {}, nullptr});
}

LuongAttentionImpl::Call LuongAttentionImpl::call(const torch::Tensor& query,
                                                  const AttentionMemory& memory,
                                                  std::int64_t position, bool side_by_side) const {
  Call result{query, {}};
  AttentionOptions& options = result.options;
  options.scale = 1.0;
  if (memory.lengths.defined()) options.mask = key_lengths(memory.lengths);
  if (options_.score == LuongScore::kGeneral)
    result.query = step_linear("score", query, weight_.t(), memory);
  if (options_.score == LuongScore::kConcat) {
    result.query = step_linear("score", query, weight_.narrow(1, 0, options_.query_dim), memory);
    options.additive_v = memory.v;
    if (memory.prepared.defined()) options.prepared_keys = memory.prepared.unsqueeze(1);
  }
  result.query = result.query.unsqueeze(1);
  const std::int64_t width = options_.window;
  if (options_.reach == LuongReach::kLocalM) {
    options.mask =
        options.mask &
        (side_by_side
             ? around(torch::full({1, 1, 1}, static_cast<double>(position), query.options()), width)
             : window(width, width, position));
  }
  if (options_.reach == LuongReach::kLocalP) {
    const torch::Tensor length =
        memory.lengths.defined()
            ? memory.lengths.to(query.scalar_type()).reshape({-1, 1})
            : torch::full({1, 1}, static_cast<double>(memory.keys.size(1)), query.options());
    const torch::Tensor centre =
        length * torch::sigmoid(torch::matmul(
                     torch::tanh(step_linear("place", query, place_->weight, memory)), place_v_));
    options.mask = options.mask & around(centre.unsqueeze(1), width);
    options.modifiers.push_back(gaussian(centre.unsqueeze(1), static_cast<double>(width) / 2));
  }
  return result;
}

torch::Tensor LuongAttentionImpl::forward(const torch::Tensor& query, const AttentionMemory& memory,
                                          std::int64_t position, bool side_by_side) {
  const Call c = call(query, memory, position, side_by_side);
  const torch::Tensor context = attend(c.query, memory, c.options).squeeze(1);
  return torch::tanh(
      step_linear("output", torch::cat({context, query}, -1), output_->weight, memory));
}

torch::Tensor LuongAttentionImpl::weights(const torch::Tensor& query, const AttentionMemory& memory,
                                          std::int64_t position, bool side_by_side) {
  torch::NoGradGuard no_grad;
  const Call c = call(query, memory, position, side_by_side);
  return attention_map(c.query, memory.keys.unsqueeze(1), c.options).squeeze(1);
}

}  // namespace regard::nn
