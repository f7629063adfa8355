// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "nn/modules/activation.h"
#include "nn/modules/transformer_layers.h"

namespace regard::nn {

TransformerDecoderLayerImpl::TransformerDecoderLayerImpl(const TransformerLayerOptions& options)
    : norm_first_(options.norm_first), activation_(options.activation) {
  check_layer(options);
  self_attn_ = register_module("self_attn", layer_attention(options));
  multihead_attn_ = register_module("multihead_attn", layer_attention(options));
  linear1_ = register_module("linear1", torch::nn::Linear(options.dim, options.feed_forward));
  linear2_ = register_module("linear2", torch::nn::Linear(options.feed_forward, options.dim));
  norm1_ = register_module("norm1", layer_norm(options));
  norm2_ = register_module("norm2", layer_norm(options));
  norm3_ = register_module("norm3", layer_norm(options));
  dropout_ = register_module("dropout", torch::nn::Dropout(options.dropout));
}

torch::Tensor TransformerDecoderLayerImpl::feed_forward(const torch::Tensor& x) {
  const torch::Tensor inner = dropout_->forward(activate(linear1_->forward(x), activation_));
  return dropout_->forward(linear2_->forward(inner));
}

template <typename SelfAttention, typename MemoryAttention>
torch::Tensor TransformerDecoderLayerImpl::run(torch::Tensor x, const SelfAttention& self,
                                               const MemoryAttention& look) {
  if (norm_first_) {
    x = x + dropout_->forward(self(norm1_->forward(x)));
    x = x + dropout_->forward(look(norm2_->forward(x)));
    return x + feed_forward(norm3_->forward(x));
  }
  x = norm1_->forward(x + dropout_->forward(self(x)));
  x = norm2_->forward(x + dropout_->forward(look(x)));
  return norm3_->forward(x + feed_forward(x));
}

torch::Tensor TransformerDecoderLayerImpl::forward(const torch::Tensor& x, const KeyValues& memory,
                                                   const Mask& memory_mask) {
  return run(
      x, [&](const torch::Tensor& y) { return self_attn_->forward(y, y, y, causal()); },
      [&](const torch::Tensor& y) { return multihead_attn_->attend(y, memory, memory_mask); });
}

torch::Tensor TransformerDecoderLayerImpl::forward_set(const torch::Tensor& x,
                                                       const torch::Tensor& positions,
                                                       const KeyValues& memory,
                                                       const Mask& memory_mask,
                                                       torch::Tensor* weights) {
  const auto self = [&](const torch::Tensor& y) {
    const torch::Tensor placed = y + positions;
    return self_attn_->forward(placed, placed, y);
  };
  const auto look = [&](const torch::Tensor& y) {
    const torch::Tensor placed = y + positions;
    if (weights != nullptr) *weights = multihead_attn_->weights(placed, memory, memory_mask);
    return multihead_attn_->attend(placed, memory, memory_mask);
  };
  return run(x, self, look);
}

torch::Tensor TransformerDecoderLayerImpl::step(const torch::Tensor& x, KeyValueCache& cache,
                                                const KeyValues& memory, const Mask& memory_mask,
                                                std::int64_t width, torch::Tensor* looked) {
  return run(
      x, [&](const torch::Tensor& y) { return self_attn_->step(y, cache); },
      [&](const torch::Tensor& y) {
        *looked = y.reshape({-1, width, y.size(-1)});
        return multihead_attn_->attend(*looked, memory, memory_mask).reshape_as(y);
      });
}

KeyValues TransformerDecoderLayerImpl::memory(const torch::Tensor& encoded) {
  return multihead_attn_->keys_values(encoded, encoded);
}

torch::Tensor TransformerDecoderLayerImpl::memory_query(const torch::Tensor& x) {
  const auto self = [&](const torch::Tensor& y) {
    return dropout_->forward(self_attn_->forward(y, y, y, causal()));
  };
  return norm_first_ ? norm2_->forward(x + self(norm1_->forward(x))) : norm1_->forward(x + self(x));
}

TransformerDecoderImpl::TransformerDecoderImpl(const TransformerStackOptions& options) {
  if (options.layers < 1) throw std::invalid_argument("layers: a decoder needs at least one");
  torch::nn::ModuleList list;
  for (std::int64_t i = 0; i < options.layers; ++i) {
    layers_.emplace_back(options.layer);
    list->push_back(layers_.back());
  }
  register_module("layers", list);
  if (options.final_norm) norm_ = register_module("norm", layer_norm(options.layer));
}

torch::Tensor TransformerDecoderImpl::forward(torch::Tensor x, const torch::Tensor& encoded,
                                              const Mask& memory_mask) {
  for (TransformerDecoderLayer& layer : layers_)
    x = layer->forward(x, layer->memory(encoded), memory_mask);
  return norm_ ? norm_->forward(x) : x;
}

TransformerDecoderState TransformerDecoderImpl::begin(const torch::Tensor& encoded,
                                                      const Mask& memory_mask,
                                                      std::int64_t max_length) {
  TransformerDecoderState state;
  state.memory_mask = memory_mask;
  for (TransformerDecoderLayer& layer : layers_) {
    state.caches.push_back(layer->self_attention().make_cache(encoded.size(0), max_length));
    state.memories.push_back(layer->memory(encoded));
  }
  return state;
}

torch::Tensor TransformerDecoderImpl::step(torch::Tensor x, TransformerDecoderState& state) {
  for (std::size_t i = 0; i < layers_.size(); ++i)
    x = layers_[i]->step(x, state.caches[i], state.memories[i], state.memory_mask, state.width,
                         &state.looked);
  return norm_ ? norm_->forward(x) : x;
}

torch::Tensor TransformerDecoderImpl::step_weights(const TransformerDecoderState& state) {
  if (!state.looked.defined()) throw std::logic_error("attention_weights: no step was taken yet");
  const torch::Tensor found = layers_.back()->memory_attention().weights(
      state.looked, state.memories.back(), state.memory_mask);  // (batch, heads, width, source_len)
  return found.transpose(1, 2).flatten(0, 1);
}

torch::Tensor TransformerDecoderImpl::weights(torch::Tensor x, const torch::Tensor& encoded,
                                              const Mask& memory_mask) {
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i)
    x = layers_[i]->forward(x, layers_[i]->memory(encoded), memory_mask);
  return layers_.back()->memory_attention().weights(layers_.back()->memory_query(x),
                                                    layers_.back()->memory(encoded), memory_mask);
}

}  // namespace regard::nn
