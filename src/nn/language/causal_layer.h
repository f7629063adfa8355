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

class CausalLayer : public torch::nn::Module {
 public:
  // x (batch, len, dim), causal. Keys and values go into `kept` where it is given.
  torch::Tensor forward(const torch::Tensor& x, const RotaryAngles& angles,
                        KeyValues* kept = nullptr);

  // Documents side by side, x (1, total, dim), each of which sees itself alone, as `mask` says.
  torch::Tensor packed(const torch::Tensor& x, const RotaryAngles& angles, const Mask& mask);

  // One position of each row, x (rows, 1, dim): its keys and values are put at lengths[row] of the
  // room, then row r looks at lengths[r] + 1 keys, of at most `longest`. `mask` says so where rows
  // differ.
  torch::Tensor step(const torch::Tensor& x, const RotaryAngles& angles, const KeyValues& room,
                     const torch::Tensor& lengths, std::int64_t longest, const Mask& mask);

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
