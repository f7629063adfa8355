// SPDX-License-Identifier: Apache-2.0
// The attentions of Luong, Pham and Manning 2015, "Effective approaches to attention-based neural
// machine translation" (arXiv 1508.04025), of a decoder's state h_t and the source's h_s:
//
//   dot       h_t . h_s                 concat     v . tanh(W [h_t; h_s])
//   general   h_t . (W h_s)             location   a_t = softmax(W h_t), which looks at no key
//
//   global    all of the source
//   local-m   positions within `window` of the target's own, p_t = t (counted from 0)
//   local-p   positions within `window` of p_t = S sigmoid(v_p . tanh(W_p h_t)), S the source's
//             length; after the softmax, weights are multiplied by exp(-(s - p_t)^2 / (2 sigma^2))
//             with sigma = window / 2
//
//   the attentional vector: tanh(W_c [context; h_t])
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "regard/nn/attention.h"
#include "regard/nn/memory.h"

namespace regard::nn {

enum class LuongScore { kDot, kGeneral, kConcat, kLocation };
enum class LuongReach { kGlobal, kLocalM, kLocalP };

struct LuongOptions {
  LuongScore score = LuongScore::kGeneral;
  LuongReach reach = LuongReach::kGlobal;
  std::int64_t query_dim = 0, source_dim = 0;  // equal for kDot
  std::int64_t window = 10;                    // local: positions to each side
  std::int64_t positions = 256;                // location: the longest source that W has a row for
};

class LuongAttentionImpl : public torch::nn::Module {
 public:
  explicit LuongAttentionImpl(const LuongOptions& options);

  // source (batch, len, source_dim); what lies past lengths (batch) is not seen. Undefined: all is.
  AttentionMemory memory(const torch::Tensor& source, const torch::Tensor& lengths = {});

  // query (batch, len_q, query_dim) -> attentional vectors (batch, len_q, query_dim). The queries
  // are those of target positions `position`, position + 1, ...; or all of the same position, where
  // they are hypotheses beside each other.
  torch::Tensor forward(const torch::Tensor& query, const AttentionMemory& memory,
                        std::int64_t position = 0, bool side_by_side = false);
  // The weights of that, (batch, len_q, len).
  torch::Tensor weights(const torch::Tensor& query, const AttentionMemory& memory,
                        std::int64_t position = 0, bool side_by_side = false);

  const LuongOptions& options() const { return options_; }

 private:
  struct Call {
    torch::Tensor query;  // as the engine takes it, (batch, 1, len_q, dim)
    AttentionOptions options;
  };
  Call call(const torch::Tensor& query, const AttentionMemory& memory, std::int64_t position,
            bool side_by_side) const;

  LuongOptions options_;
  torch::Tensor weight_, v_;  // of the score
  torch::nn::Linear place_{nullptr};
  torch::Tensor place_v_;  // of local-p
  torch::nn::Linear output_{nullptr};
};
TORCH_MODULE(LuongAttention);

}  // namespace regard::nn
