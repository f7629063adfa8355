// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "nn/modules/activation.h"
#include "nn/modules/transformer_layers.h"

namespace regard::nn {

torch::nn::LayerNorm layer_norm(const TransformerLayerOptions& options) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.dim}).eps(options.norm_eps));
}

MultiheadAttention layer_attention(const TransformerLayerOptions& options) {
  MultiheadAttentionOptions attention;
  attention.dim = options.dim;
  attention.heads = options.heads;
  attention.kv_heads = options.kv_heads;
  attention.dropout = options.dropout;
  return MultiheadAttention(attention);
}

void check_layer(const TransformerLayerOptions& options) {
  check_activation(options.activation);
  if (options.feed_forward < 1)
    throw std::invalid_argument("feed_forward: " + std::to_string(options.feed_forward) +
                                "; expected at least 1");
}

TransformerEncoderLayerImpl::TransformerEncoderLayerImpl(const TransformerLayerOptions& options)
    : norm_first_(options.norm_first), activation_(options.activation) {
  check_layer(options);
  self_attn_ = register_module("self_attn", layer_attention(options));
  linear1_ = register_module("linear1", torch::nn::Linear(options.dim, options.feed_forward));
  linear2_ = register_module("linear2", torch::nn::Linear(options.feed_forward, options.dim));
  norm1_ = register_module("norm1", layer_norm(options));
  norm2_ = register_module("norm2", layer_norm(options));
  dropout_ = register_module("dropout", torch::nn::Dropout(options.dropout));
}

torch::Tensor TransformerEncoderLayerImpl::forward(torch::Tensor x, const Mask& mask,
                                                   const torch::Tensor& positions) {
  const auto attend = [&](const torch::Tensor& y) {
    const torch::Tensor placed = positions.defined() ? y + positions : y;
    return dropout_->forward(self_attn_->forward(placed, placed, y, mask));
  };
  const auto feed_forward = [&](const torch::Tensor& y) {
    const torch::Tensor inner = dropout_->forward(activate(linear1_->forward(y), activation_));
    return dropout_->forward(linear2_->forward(inner));
  };
  if (norm_first_) {
    x = x + attend(norm1_->forward(x));
    return x + feed_forward(norm2_->forward(x));
  }
  x = norm1_->forward(x + attend(x));
  return norm2_->forward(x + feed_forward(x));
}

torch::Tensor TransformerEncoderLayerImpl::attended(const torch::Tensor& x) {
  return norm_first_ ? norm1_->forward(x) : x;
}

torch::Tensor TransformerEncoderLayerImpl::weights(const torch::Tensor& x) {
  torch::NoGradGuard no_grad;
  const torch::Tensor y = attended(x);
  return self_attn_->weights(y, self_attn_->keys_values(y, y));
}

torch::Tensor TransformerEncoderLayerImpl::rollout(const torch::Tensor& rows,
                                                   const torch::Tensor& x) {
  torch::NoGradGuard no_grad;
  return self_attn_->rollout(rows, attended(x));
}

TransformerEncoderImpl::TransformerEncoderImpl(const TransformerStackOptions& options) {
  torch::nn::ModuleList list;
  for (std::int64_t i = 0; i < options.layers; ++i) {
    layers_.emplace_back(options.layer);
    list->push_back(layers_.back());
  }
  register_module("layers", list);
  if (options.final_norm) norm_ = register_module("norm", layer_norm(options.layer));
}

torch::Tensor TransformerEncoderImpl::forward(torch::Tensor x, const Mask& mask) {
  for (TransformerEncoderLayer& layer : layers_) x = layer->forward(x, mask);
  return norm_ ? norm_->forward(x) : x;
}

}  // namespace regard::nn
