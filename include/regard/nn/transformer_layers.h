// SPDX-License-Identifier: Apache-2.0
// The Transformer's two stacks (Vaswani et al. 2017, arXiv 1706.03762). Parameters have the names
// of torch.nn.TransformerEncoder and torch.nn.TransformerDecoder.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>

#include "regard/nn/multihead_attention.h"

namespace regard::nn {

struct TransformerLayerOptions {
  std::int64_t dim = 0, heads = 1, kv_heads = 0, feed_forward = 0;
  // Post-norm, LayerNorm(x + f(x)), as in the paper; or pre-norm, x + f(LayerNorm(x)) (Xiong et al.
  // 2020, arXiv 2002.04745).
  bool norm_first = false;
  std::string activation = "relu";  // or "gelu", "gelu_tanh", "silu"
  double dropout = 0;  // of each sublayer's output, the inner activation and the weights
  double norm_eps = 1e-5;
};

struct TransformerStackOptions {
  TransformerLayerOptions layer;
  std::int64_t layers = 1;
  bool final_norm = false;  // a LayerNorm after the last layer: pre-norm needs it
};

class TransformerEncoderLayerImpl : public torch::nn::Module {
 public:
  explicit TransformerEncoderLayerImpl(const TransformerLayerOptions& options);
  // x (batch, len, dim) -> the same shape. `positions`, where given, are added to what asks and
  // what is asked, but not to the values (Carion et al. 2020, arXiv 2005.12872).
  torch::Tensor forward(torch::Tensor x, const Mask& mask, const torch::Tensor& positions = {});
  // The weights of its attention in that, (batch, heads, len, len), without gradients.
  torch::Tensor weights(const torch::Tensor& x);
  // Attention rollout through it: rows (batch, vectors, len) over what forward(x) gives -> over x.
  torch::Tensor rollout(const torch::Tensor& rows, const torch::Tensor& x);

 private:
  torch::Tensor attended(const torch::Tensor& x);  // what its attention reads

  bool norm_first_;
  std::string activation_;
  MultiheadAttention self_attn_{nullptr};
  torch::nn::Linear linear1_{nullptr}, linear2_{nullptr};
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
};
TORCH_MODULE(TransformerEncoderLayer);

class TransformerEncoderImpl : public torch::nn::Module {
 public:
  explicit TransformerEncoderImpl(const TransformerStackOptions& options);
  // x (batch, len, dim); the mask hides padding: key_lengths(lengths).
  torch::Tensor forward(torch::Tensor x, const Mask& mask = {});

 private:
  std::vector<TransformerEncoderLayer> layers_;
  torch::nn::LayerNorm norm_{nullptr};
};
TORCH_MODULE(TransformerEncoder);

class TransformerDecoderLayerImpl : public torch::nn::Module {
 public:
  explicit TransformerDecoderLayerImpl(const TransformerLayerOptions& options);
  // x (batch, len, dim), memory's keys and values as memory() made them. Self-attention is causal;
  // memory_mask hides the memory's padding.
  torch::Tensor forward(const torch::Tensor& x, const KeyValues& memory, const Mask& memory_mask);
  // The same for a set, whose members all see each other: `positions` are added to x where it asks
  // and is asked, but not to the values. The memory's weights, (batch, heads, len, source_len), go
  // to `weights` where it is given.
  torch::Tensor forward_set(const torch::Tensor& x, const torch::Tensor& positions,
                            const KeyValues& memory, const Mask& memory_mask,
                            torch::Tensor* weights = nullptr);
  // One position of (rows, 1, dim); `width` rows of each memory lie side by side. Leaves the query
  // of the memory's attention in `looked`, (rows / width, width, dim).
  torch::Tensor step(const torch::Tensor& x, KeyValueCache& cache, const KeyValues& memory,
                     const Mask& memory_mask, std::int64_t width, torch::Tensor* looked);
  KeyValues memory(const torch::Tensor& encoded);
  // What the memory's attention is asked in forward(), for weights.
  torch::Tensor memory_query(const torch::Tensor& x);
  MultiheadAttentionImpl& self_attention() { return *self_attn_; }
  MultiheadAttentionImpl& memory_attention() { return *multihead_attn_; }

 private:
  template <typename SelfAttention, typename MemoryAttention>
  torch::Tensor run(torch::Tensor x, const SelfAttention& self, const MemoryAttention& look);
  torch::Tensor feed_forward(const torch::Tensor& x);

  bool norm_first_;
  std::string activation_;
  MultiheadAttention self_attn_{nullptr}, multihead_attn_{nullptr};
  torch::nn::Linear linear1_{nullptr}, linear2_{nullptr};
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr}, norm3_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
};
TORCH_MODULE(TransformerDecoderLayer);

// Where a decoder stands: caches of each layer, and each layer's keys and values of the memory.
struct TransformerDecoderState {
  std::vector<KeyValueCache> caches;
  std::vector<KeyValues> memories;
  Mask memory_mask;
  std::int64_t width = 1;  // rows of each memory, side by side
  torch::Tensor looked;    // the last layer's query of the memory in the last step
};

class TransformerDecoderImpl : public torch::nn::Module {
 public:
  explicit TransformerDecoderImpl(const TransformerStackOptions& options);
  // x (batch, len, dim), encoded (batch, source_len, dim).
  torch::Tensor forward(torch::Tensor x, const torch::Tensor& encoded, const Mask& memory_mask);
  TransformerDecoderState begin(const torch::Tensor& encoded, const Mask& memory_mask,
                                std::int64_t max_length);
  // x (rows, 1, dim) -> (rows, 1, dim).
  torch::Tensor step(torch::Tensor x, TransformerDecoderState& state);
  // How the last layer looks at the memory: (rows, heads, source_len) of the last step, and
  // (batch, heads, len, source_len) of whole targets.
  torch::Tensor step_weights(const TransformerDecoderState& state);
  torch::Tensor weights(torch::Tensor x, const torch::Tensor& encoded, const Mask& memory_mask);

 private:
  std::vector<TransformerDecoderLayer> layers_;
  torch::nn::LayerNorm norm_{nullptr};
};
TORCH_MODULE(TransformerDecoder);

}  // namespace regard::nn
