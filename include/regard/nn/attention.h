// SPDX-License-Identifier: Apache-2.0
// Exact fused attention under libtorch's autograd:
//
//   softmax(scale * score(query, key) (+ modifiers), over the keys that the mask allows) value
//
// forward and backward on the engine of regard/attention.h, on PyTorch's own threads, with no
// matrix of scores in memory. What python/regard's `regard.attention` computes, by the same
// functions.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "regard/nn/mask.h"

namespace regard::nn {

// The order of the axes of query, key, value and output.
enum class Layout : std::int64_t {
  kBhsd = 0,  // (batch, heads, seq, dim)
  kBshd = 1,  // (batch, seq, heads, dim)
  kThd = 2,   // (total, heads, dim): packed sequences, with a documents() mask
};

// Which tiles of the scores a mask leaves, to be used by many calls with the same mask and lengths.
class Plan {
 public:
  Plan(const Mask& mask, std::int64_t batch, std::int64_t heads, std::int64_t len_q,
       std::int64_t len_k);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan();
  double density() const;  // the share of all pairs that is computed
  std::int64_t number() const { return number_; }

 private:
  std::int64_t number_;
};

struct AttentionOptions {
  // Additive score, scale * v . tanh(query + key) (Bahdanau et al. 2014, arXiv 1409.0473): v (dim),
  // or (heads, dim). A scaled dot product where it is not given.
  torch::Tensor additive_v;
  // What prepare_keys() made of the key: optional, for additive scores.
  torch::Tensor prepared_keys;
  std::optional<double> scale;  // 1 / sqrt(dim), or 1 for additive scores, when not given
  double softcap = 0;           // cap * tanh(s / cap); 0 is none
  Mask mask;
  std::vector<Modifier> modifiers;
  double dropout_p = 0;              // the probability to drop a weight
  std::optional<std::int64_t> seed;  // of dropout; drawn from PyTorch's generator when not given
  Layout layout = Layout::kBhsd;
  std::shared_ptr<const Plan> plan;  // of the same mask and lengths
};

// query (batch, heads, len_q, dim), key (batch, heads_kv, len_k, dim), value (batch, heads_kv,
// len_k, dim_v) or as `layout` says; float32, bfloat16, float16 or float64, all the same; any
// strides; on the CPU. heads is a multiple of heads_kv; keys and values are not repeated in memory.
// Returns (batch, heads, len_q, dim_v). Gradients go to query, key, value, additive_v and the
// modifiers' tensors; there is no double backward. Under autocast the three are lowered to its
// dtype. A query that sees no key gives 0.
//
// Errors: std::invalid_argument names the argument, its shape and what was expected.
torch::Tensor attention(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value, const AttentionOptions& options = {});

// Also the natural logarithm of each row's sum, (batch, heads, len_q); differentiable.
std::pair<torch::Tensor, torch::Tensor> attention_with_lse(const torch::Tensor& query,
                                                           const torch::Tensor& key,
                                                           const torch::Tensor& value,
                                                           const AttentionOptions& options = {});

// The weights themselves, (batch, heads, len_q, len_k), without gradients: for looking at. Options
// as attention() takes them.
torch::Tensor attention_map(const torch::Tensor& query, const torch::Tensor& key,
                            const AttentionOptions& options = {});

// Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928) through one layer of self-attention:
// rows (batch, vectors, len) over its output -> over its input, rows (residual I + (1 - residual)
// P), P the mean of the heads' weights. No matrix of weights is made. float32, without gradients.
torch::Tensor attention_rollout(const torch::Tensor& rows, const torch::Tensor& query,
                                const torch::Tensor& key, const AttentionOptions& options = {},
                                double residual = 0.5);

// e^(2 key) of every element, once for all calls with this key and an additive score: the same
// shape, float32 (float64 for float64).
torch::Tensor prepare_keys(const torch::Tensor& key);

}  // namespace regard::nn
