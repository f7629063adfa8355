// SPDX-License-Identifier: Apache-2.0
// Multi-head attention (Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762), also
// with fewer heads of keys and values (GQA, Ainslie et al. 2023, arXiv 2305.13245).
//
// Parameters have the names and shapes of torch.nn.MultiheadAttention, so that a state dict of one
// serves the other: in_proj_weight (or q_proj_weight, k_proj_weight and v_proj_weight where the
// dims of keys or values differ), in_proj_bias, out_proj. With fewer heads of keys and values,
// in_proj_weight has fewer rows for them.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "regard/nn/attention.h"

namespace regard::nn {

struct MultiheadAttentionOptions {
  std::int64_t dim = 0, heads = 1;          // heads divides dim; a head has dim / heads
  std::int64_t kv_heads = 0;                // of keys and values, dividing heads; 0: as many
  std::int64_t key_dim = 0, value_dim = 0;  // of the keys' and values' inputs; 0: dim
  bool bias = true;
  double dropout = 0;  // of the weights, while training
};

// Projected keys and values: (batch, len, kv_heads, dim / heads) each.
struct KeyValues {
  torch::Tensor keys, values;

  // The batch entries that `rows` (int64) names, in its order.
  KeyValues select(const torch::Tensor& rows) const {
    return {keys.index_select(0, rows), values.index_select(0, rows)};
  }
};

// Keys and values of a decoder that takes a step at a time: room for max_length positions,
// allocated once, of which `length` are filled.
struct KeyValueCache {
  KeyValues room;
  std::int64_t length = 0;

  std::int64_t max_length() const { return room.keys.size(1); }
  KeyValues filled() const {
    return {room.keys.narrow(1, 0, length), room.values.narrow(1, 0, length)};
  }
  // Row i becomes what row rows[i] (int64) was; std::invalid_argument for a row that is not there.
  // Only what is filled is copied, into `spare`: what `room` was before the last reordering.
  void reorder(const torch::Tensor& rows);
  KeyValues spare;
};

class MultiheadAttentionImpl : public torch::nn::Module {
 public:
  explicit MultiheadAttentionImpl(const MultiheadAttentionOptions& options);

  // query (batch, len_q, dim), key (batch, len_k, key_dim), value (batch, len_k, value_dim) ->
  // (batch, len_q, dim). The mask is one of regard/nn/mask.h: causal(), key_lengths(lengths) for
  // padding, or both; tensors in masks and modifiers broadcast to (batch, heads, len_q, len_k).
  // Self-attention (all three the same tensor) projects in one product, one with a memory (key and
  // value the same) in two.
  torch::Tensor forward(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value, const Mask& mask = {},
                        const std::vector<Modifier>& modifiers = {});

  // In two halves, for keys and values that many queries share.
  KeyValues keys_values(const torch::Tensor& key, const torch::Tensor& value);
  torch::Tensor attend(const torch::Tensor& query, const KeyValues& memory, const Mask& mask = {},
                       const std::vector<Modifier>& modifiers = {});
  // The weights of that, (batch, heads, len_q, len_k), without dropout or gradients.
  torch::Tensor weights(const torch::Tensor& query, const KeyValues& memory, const Mask& mask = {},
                        const std::vector<Modifier>& modifiers = {});

  // Attention rollout (attention_rollout() of regard/nn/attention.h) through self-attention over x,
  // (batch, len, dim): rows (batch, vectors, len) -> the same.
  torch::Tensor rollout(const torch::Tensor& rows, const torch::Tensor& x);

  // Causal self-attention of new positions, (batch, positions, dim): appends their keys and values
  // to the cache and attends to all that it holds then. Not for training.
  torch::Tensor step(const torch::Tensor& query, KeyValueCache& cache);
  KeyValueCache make_cache(std::int64_t batch, std::int64_t max_length) const;

  const MultiheadAttentionOptions& options() const { return options_; }

 private:
  torch::Tensor weight(int which) const;  // 0 to 2: query, key, value
  torch::Tensor bias(std::int64_t first, std::int64_t count) const;
  torch::Tensor as_heads(const torch::Tensor& projected) const;
  torch::Tensor attend_projected(const torch::Tensor& query, const KeyValues& memory,
                                 const Mask& mask, const std::vector<Modifier>& modifiers);

  MultiheadAttentionOptions options_;
  std::int64_t head_dim_, rows_[3];  // rows of the three projections
  torch::Tensor in_proj_, separate_[3], in_bias_;
  torch::nn::Linear out_{nullptr};
};
TORCH_MODULE(MultiheadAttention);

}  // namespace regard::nn
