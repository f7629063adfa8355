// SPDX-License-Identifier: Apache-2.0
#include "nn/language/llama_layer.h"

#include "nn/modules/rms_norm.h"

namespace regard::nn {

LlamaLayer::LlamaLayer(const LlamaConfig& config)
    : heads_(config.heads),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      dim_(config.dim),
      norm_eps_(config.norm_eps) {
  const std::int64_t columns = heads_ * head_dim_, rows = columns + 2 * kv_heads_ * head_dim_;
  const auto drawn = [&](const char* name, std::int64_t out, std::int64_t in) {
    torch::Tensor weight = register_parameter(name, torch::empty({out, in}));
    torch::nn::init::normal_(weight, 0, 0.02);
    return weight;
  };
  in_proj_ = drawn("in_proj_weight", rows, dim_);
  out_proj_ = drawn("out_proj_weight", dim_, columns);
  if (config.attention_bias) {
    in_bias_ = register_parameter("in_proj_bias", torch::zeros({rows}));
    out_bias_ = register_parameter("out_proj_bias", torch::zeros({dim_}));
  }
  gate_up_ = drawn("gate_up_weight", 2 * config.feed_forward, dim_);
  down_ = drawn("down_weight", dim_, config.feed_forward);
  norm1_ = register_parameter("norm1_weight", torch::ones({dim_}));
  norm2_ = register_parameter("norm2_weight", torch::ones({dim_}));
}

LlamaLayer::Projected LlamaLayer::project(const torch::Tensor& x, const RotaryAngles& angles) {
  const torch::Tensor normed = rms_norm(x, norm1_, norm_eps_);
  const auto parts = torch::linear(normed, in_proj_, in_bias_)
                         .unflatten(-1, {-1, head_dim_})
                         .split_with_sizes({heads_ + kv_heads_, kv_heads_}, -2);
  const torch::Tensor turned = rotate(parts[0], angles);
  return {turned.narrow(-2, 0, heads_), turned.narrow(-2, heads_, kv_heads_), parts[1]};
}

torch::Tensor LlamaLayer::finish(const torch::Tensor& x, const torch::Tensor& attended) {
  const torch::Tensor y = x + torch::linear(attended.flatten(-2), out_proj_, out_bias_);
  const auto both = torch::linear(rms_norm(y, norm2_, norm_eps_), gate_up_).chunk(2, -1);
  return y + torch::linear(torch::silu(both[0]) * both[1], down_);
}

}  // namespace regard::nn
