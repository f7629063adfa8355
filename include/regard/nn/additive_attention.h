// SPDX-License-Identifier: Apache-2.0
// The attention of Bahdanau, Cho and Bengio 2014, "Neural machine translation by jointly learning
// to align and translate" (arXiv 1409.0473):
//
//   e_ij = v . tanh(W s_i + U h_j)      context_i = sum_j softmax_j(e_ij) h_j
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "regard/nn/attention.h"
#include "regard/nn/memory.h"

namespace regard::nn {

class AdditiveAttentionImpl : public torch::nn::Module {
 public:
  // Dims of the query s, of the annotations h, and of the layer between, `dim`.
  AdditiveAttentionImpl(std::int64_t query_dim, std::int64_t annotation_dim, std::int64_t dim);

  // U h of annotations (batch, len, annotation_dim), once for all queries; those from lengths
  // (batch) on are not seen. Undefined lengths: all are.
  AttentionMemory memory(const torch::Tensor& annotations, const torch::Tensor& lengths = {});
  // query (batch, len_q, query_dim) -> contexts (batch, len_q, annotation_dim).
  torch::Tensor forward(const torch::Tensor& query, const AttentionMemory& memory);
  // The weights of that, (batch, len_q, len).
  torch::Tensor weights(const torch::Tensor& query, const AttentionMemory& memory);

 private:
  torch::nn::Linear query_{nullptr}, key_{nullptr};
  torch::Tensor v_;
  AttentionOptions options(const AttentionMemory& memory) const;
};
TORCH_MODULE(AdditiveAttention);

}  // namespace regard::nn
