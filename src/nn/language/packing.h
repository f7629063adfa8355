// SPDX-License-Identifier: Apache-2.0
// A batch of texts one behind the other, without padding.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "regard/nn/attention.h"
#include "regard/nn/text_encoder.h"

namespace regard::nn {

struct Packing {
  std::int64_t batch = 0, len = 0;
  torch::Tensor places;               // (total) in batch * len; undefined: all, nothing is padding
  std::vector<std::int64_t> lengths;  // (batch)
  torch::Tensor starts;               // (batch + 1) int32: where texts begin, and the end

  bool whole() const { return !places.defined(); }
  std::int64_t total() const { return starts[-1].item<std::int64_t>(); }
  torch::Tensor pack(const torch::Tensor& x) const;    // (batch, len, ...) -> (total, ...)
  torch::Tensor unpack(const torch::Tensor& x) const;  // back, 0 at padding
  // (total, any) as attention() takes it: (batch, len, heads, any / heads), or (total, heads, ...).
  torch::Tensor as_heads(const torch::Tensor& x, std::int64_t heads) const;
  // Hides other texts.
  Mask apart() const { return whole() ? Mask() : documents(starts, starts); }
  Layout layout() const { return whole() ? Layout::kBshd : Layout::kThd; }
};

// What is text, bool (batch, len), or undefined where all is; checks tokens, lengths and mask.
torch::Tensor text_mask(const TextInput& input);
Packing packing_of(const TextInput& input);

struct GlobalTokens {
  torch::Tensor rows;                // (count): their places among the packed tokens
  std::vector<std::int64_t> counts;  // (batch)
  torch::Tensor starts;              // (batch + 1) int32, as Packing has them
  std::int64_t most = 0;             // of a text
  torch::Tensor places;              // (batch, most) in the text, filled up with -1
};
// Of a bool (batch, len).
GlobalTokens global_tokens_of(const torch::Tensor& mask, const Packing& packing);

// What an attention sees, and the plan for it where there is one.
struct Seen {
  Mask mask;
  std::shared_ptr<const Plan> plan;
};

// What a layer reads, besides its input.
struct LayerReading {
  Packing packing;
  std::optional<GlobalTokens> globals;
  Mask text;  // hides other texts and padding
  // The (local) attention: that and what the layer hides, of all texts at once or, where it holds
  // any, of one text after the other.
  Seen seen;
  std::vector<Seen> by_text;
};

}  // namespace regard::nn
