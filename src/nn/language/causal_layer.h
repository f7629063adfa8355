// SPDX-License-Identifier: Apache-2.0
// A layer of a decoder-only model: what stands before and after its attention is the model's, the
// attention and its cache are the same for all.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>

#include "regard/nn/attention.h"
#include "regard/nn/multihead_attention.h"
#include "regard/nn/rotary.h"

namespace regard::nn {

// Where new positions go in a cache: [begin, end) of each row; or, where rows are of different
// lengths, one position at rows[row], and `mask` says what each row sees.
struct CachePlace {
  std::int64_t begin = 0, end = 0;
  torch::Tensor rows;
  Mask mask;
};

class CausalLayer : public torch::nn::Module {
 public:
  // x (batch, len, dim), causal.
  torch::Tensor forward(const torch::Tensor& x, const RotaryAngles& angles);

  // Documents side by side, x (1, total, dim), each of which sees itself alone, as `mask` says.
  torch::Tensor packed(const torch::Tensor& x, const RotaryAngles& angles, const Mask& mask);

  // Positions that follow those of a cache, x (rows, n, dim), without gradients: their keys and
  // values go to their place in the room, then the last `wanted` of them look at all keys up to
  // their own. The result has those alone, (rows, wanted, dim).
  torch::Tensor extend(const torch::Tensor& x, const RotaryAngles& angles, const KeyValues& room,
                       const CachePlace& place, std::int64_t wanted);

  // The weights of forward()'s attention, (batch, heads, len, len).
  torch::Tensor weights(const torch::Tensor& x, const RotaryAngles& angles);

 protected:
  struct Projected {
    torch::Tensor query, keys, values;  // (batch, len, heads, head dim)
  };
  virtual Projected project(const torch::Tensor& x, const RotaryAngles& angles) = 0;
  // The layer's output of its input and of what the attention gave, (batch, len, heads, head dim).
  virtual torch::Tensor finish(const torch::Tensor& x, const torch::Tensor& attended) = 0;

  double attention_dropout_ = 0;  // while training
  std::optional<double> scale_;   // of scores; 1 / sqrt(head dim) where there is none

 private:
  AttentionOptions options(const Mask& mask) const;
};

}  // namespace regard::nn
