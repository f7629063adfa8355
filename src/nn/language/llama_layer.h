// SPDX-License-Identifier: Apache-2.0
// A layer of Llama: x + attention(RMSNorm(x)), then x + feed_forward(RMSNorm(x)).
#pragma once

#include "nn/language/causal_layer.h"
#include "regard/nn/llama.h"

namespace regard::nn {

class LlamaLayer : public CausalLayer {
 public:
  explicit LlamaLayer(const LlamaConfig& config);

 protected:
  Projected project(const torch::Tensor& x, const RotaryAngles& angles) override;
  torch::Tensor finish(const torch::Tensor& x, const torch::Tensor& attended) override;

 private:
  std::int64_t heads_, kv_heads_, head_dim_, dim_;
  double norm_eps_;
  torch::Tensor in_proj_, in_bias_, out_proj_, out_bias_, gate_up_, down_, norm1_, norm2_;
};

}  // namespace regard::nn
