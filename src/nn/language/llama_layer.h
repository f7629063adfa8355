// SPDX-License-Identifier: Apache-2.0
// A layer of Llama: x + attention(RMSNorm(x)), then x + feed_forward(RMSNorm(x)).
#pragma once

#include <torch/torch.h>

#include "regard/nn/llama.h"
#include "regard/nn/multihead_attention.h"

namespace regard::nn {

class LlamaLayer : public torch::nn::Module {
 public:
  explicit LlamaLayer(const LlamaConfig& config);

  // x (batch, len, dim), causal. Rotated keys and values go into `kept` where it is given.
  torch::Tensor forward(const torch::Tensor& x, const RotaryAngles& angles,
                        KeyValues* kept = nullptr);

  // One position of each row, x (rows, 1, dim): its keys and values are put at lengths[row] of the
  // room, then row r looks at lengths[r] + 1 keys, of at most `longest`. `mask` says so where rows
  // differ.
  torch::Tensor step(const torch::Tensor& x, const RotaryAngles& angles, const KeyValues& room,
                     const torch::Tensor& lengths, std::int64_t longest, const Mask& mask);

 private:
  struct Projected {
    torch::Tensor query, keys, values;  // (batch, len, heads, head dim)
  };
  Projected project(const torch::Tensor& x, const RotaryAngles& angles);
  torch::Tensor finish(const torch::Tensor& x, const torch::Tensor& attended);

  std::int64_t heads_, kv_heads_, head_dim_, dim_;
  double norm_eps_;
  torch::Tensor in_proj_, in_bias_, out_proj_, out_bias_, gate_up_, down_, norm1_, norm2_;
};

}  // namespace regard::nn
