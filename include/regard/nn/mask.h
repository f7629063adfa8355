// SPDX-License-Identifier: Apache-2.0
// Masks and modifiers for regard::nn::attention(): the values of regard/mask.h and
// regard/modifier.h with PyTorch's tensors in them, which keep them alive and get gradients.
//
//   Mask m = causal() & window(4096, 0);
//   Mask p = causal(0) & key_lengths(lengths);
//
// Meanings, formulas and sources are those of the two headers. Tensors on the CPU. What does not
// fit is an error when attention() is called: std::invalid_argument by the argument's name.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "regard/modifier.h"

namespace regard::nn {

// Part of the options in the encoding of regard/encoding.h.
struct OptionRecord {
  std::vector<std::int64_t> ints;
  std::vector<double> floats;
  std::vector<torch::Tensor> tensors;
};

// Which keys a query may see; hides nothing by default.
class Mask {
 public:
  Mask() = default;
  explicit Mask(OptionRecord record) : record_(std::move(record)) {}
  bool hides_nothing() const { return record_.ints.empty(); }
  const OptionRecord& record() const { return record_; }

 private:
  OptionRecord record_;
};

// A mask that hides nothing is the neutral element of &; with | and ~ it is an error.
Mask operator&(const Mask& a, const Mask& b);
Mask operator|(const Mask& a, const Mask& b);
Mask operator~(const Mask& a);

// Query i sees keys j <= i + offset; without one, the last query sees the last key.
Mask causal(std::optional<std::int64_t> offset = std::nullopt);
Mask window(std::int64_t left, std::int64_t right,
            std::optional<std::int64_t> offset = std::nullopt);
// lengths (batch), int32 or int64.
Mask key_lengths(const torch::Tensor& lengths);
// Packed sequences (Layout::kThd): cu_q and cu_k (documents + 1), int32 or int64.
Mask documents(const torch::Tensor& cu_q, const torch::Tensor& cu_k);
// dilations (1) or (heads).
Mask dilated(std::int64_t left, std::int64_t right, const torch::Tensor& dilations,
             std::optional<std::int64_t> offset = std::nullopt);
// tokens (entries) or (batch, entries), filled up with -1.
Mask global_tokens(const torch::Tensor& tokens, std::optional<std::int64_t> offset = std::nullopt);
// allowed: bool, ([batch, heads,] blocks of queries, blocks of keys).
Mask blocks(const torch::Tensor& allowed, std::int64_t block_q, std::int64_t block_k);
Mask bigbird(std::int64_t block = 64, std::int64_t window = 3, std::int64_t global = 2,
             std::int64_t random = 3, std::int64_t seed = 0);
Mask prefix(const torch::Tensor& lengths, std::optional<std::int64_t> offset = std::nullopt);
// parents (nodes) or (batch, nodes).
Mask tree(const torch::Tensor& parents);
// centres: floating, broadcasts to (batch, heads, len_q); no gradient.
Mask around(const torch::Tensor& centres, std::int64_t width);
// allowed: bool, true where attended, broadcasts to (batch, heads, len_q, len_k).
Mask tensor_mask(const torch::Tensor& allowed);

// What happens to a score before the softmax, and to a weight after it. Floating tensors get
// gradients.
class Modifier {
 public:
  explicit Modifier(OptionRecord record) : record_(std::move(record)) {}
  const OptionRecord& record() const { return record_; }

 private:
  OptionRecord record_;
};

Modifier temperature(const torch::Tensor& values);  // (heads) or (1)
Modifier alibi(const torch::Tensor& slopes);        // (heads) or (batch, heads)
Modifier relative_bias(const torch::Tensor& table,  // (entries, heads or 1)
                       const torch::Tensor& buckets, const torch::Tensor& query_code,
                       const torch::Tensor& key_code, std::int64_t shift);
Modifier bias(const torch::Tensor& values, bool before_softcap = false);  // (batch, heads, q, k)
Modifier sinks(const torch::Tensor& logits);                              // (heads, m) or (heads)
Modifier multiplier(const torch::Tensor& weights);                        // (batch, heads, q, k)
Modifier gaussian(const torch::Tensor& centre, double sigma);             // (batch, heads, len_q)

// A function of one's own over tiles of scores, and its derivative (regard/modifier.h), which must
// outlive every use.
Modifier function(void (*apply)(const FunctionTile* tile, void* context),
                  void (*derive)(const FunctionTile* tile, void* context) = nullptr,
                  void* context = nullptr);

}  // namespace regard::nn
