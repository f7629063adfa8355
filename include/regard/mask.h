// SPDX-License-Identifier: Apache-2.0
// Which keys a query may see. Masks are values; they compose with & | and ~.
//
//   Mask m = causal() & window(4096, 0);         // a decoder with a sliding window
//   Mask p = causal() & documents(cu_q, cu_k);   // packed sequences, causal within each
//
// Query i and key j count from 0 in the whole sequence (for packed sequences: in their own
// document). A default-constructed Mask hides nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "regard/tensor_view.h"

namespace regard {

namespace plan {
class MaskNode;  // src/core/plan: how a mask is cut into intervals and bits
}

class Mask {
 public:
  Mask() = default;
  explicit Mask(std::shared_ptr<const plan::MaskNode> node) : node_(std::move(node)) {}

  bool hides_nothing() const { return node_ == nullptr; }
  const std::shared_ptr<const plan::MaskNode>& node() const { return node_; }

 private:
  std::shared_ptr<const plan::MaskNode> node_;
};

Mask operator&(const Mask& a, const Mask& b);  // pairs that both allow
Mask operator|(const Mask& a, const Mask& b);  // pairs that either allows
Mask operator~(const Mask& a);                 // pairs that a hides

// Query i sees keys j <= i + offset. Without an offset: len_k - len_q, so that the last query sees
// the last key (bottom-right aligned, as flash-attention). Offset 0 is top-left aligned, as
// PyTorch's is_causal.
Mask causal(std::optional<std::int64_t> offset = std::nullopt);

// Query i sees keys i + offset - left <= j <= i + offset + right, both ends included; -1 leaves a
// side unbounded. The offset defaults as causal's does. left and right below -1 are an error when
// the mask is used.
Mask window(std::int64_t left, std::int64_t right,
            std::optional<std::int64_t> offset = std::nullopt);

// Sequence b of the batch has lengths[b] keys (one length for each batch entry, 0 <= length <=
// len_k). Keys from there on are neither seen nor read. Does not move causal's or window's offset.
Mask key_lengths(std::vector<std::int64_t> lengths);

// Packed sequences ("thd"): document n holds query rows [cu_q[n], cu_q[n+1]) and key rows [cu_k[n],
// cu_k[n+1]); a query sees keys of its own document. Both lists start at 0, never fall, have one
// entry more than there are documents, and do not pass the number of rows; rows past the last entry
// belong to no document and see nothing. Under `&`, causal and window count within each document,
// and a row's result is bitwise what it is when its document is computed alone.
Mask documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k);

// A window of every dilation-th key (Longformer, Beltagy et al. 2020, arXiv 2004.05150): query i
// sees key j = i + offset - n * dilation for whole n from -right to left; -1 leaves a side
// unbounded. One dilation for all heads, or one for each query head. 1 <= dilation. Costs what a
// window of as many keys costs, unless a modifier looks at positions (a bias, ALiBi, dropout, ...)
// or query heads that share keys differ in their dilation: then what the keys it spans cost.
Mask dilated(std::int64_t left, std::int64_t right, std::int64_t dilation,
             std::optional<std::int64_t> offset = std::nullopt);
Mask dilated(std::int64_t left, std::int64_t right, std::vector<std::int64_t> dilations,
             std::optional<std::int64_t> offset = std::nullopt);

// Global tokens, symmetric (Longformer): every query sees the keys in `tokens`, and a query that is
// one of them (i + offset is in `tokens`) sees every key. Usually joined to a window with |. In any
// order; 0 <= token < the tokens there are.
Mask global_tokens(std::vector<std::int64_t> tokens,
                   std::optional<std::int64_t> offset = std::nullopt);
// A list for each batch entry.
Mask global_tokens_by_batch(std::vector<std::vector<std::int64_t>> tokens,
                            std::optional<std::int64_t> offset = std::nullopt);

// Block-sparse: rows and keys of the tensors in blocks of block_q by block_k, the last of each
// perhaps shorter; a block is seen where `layout` is true. layout: dtype kBool, any strides, shape
// (batch or 1, heads or 1, ceil(len_q / block_q), ceil(len_k / block_k)). Copied at once, as bits.
Mask blocks(TensorView layout, std::int64_t block_q, std::int64_t block_k);

// BigBird (Zaheer et al. 2020, arXiv 2007.14062): blocks of `block` rows by `block` keys, of which
// each row of blocks sees `window` around its own (the longer part before it, where the count is
// even), `global` that see all and are seen by all (half of them, rounded up, at the front, the
// rest at the back), and `random` others, drawn from (seed, head, row of blocks): the same in every
// batch entry and run.
struct BigBird {
  std::int64_t block = 64, window = 3, global = 2, random = 3;
  std::uint64_t seed = 0;
};
Mask bigbird(const BigBird& pattern = {});

// Prefix language model (Raffel et al. 2020, arXiv 1910.10683): all queries of batch entry b see
// its first lengths[b] keys, and beyond that query i sees keys j <= i + offset, as causal. 0 <=
// length <= len_k.
Mask prefix(std::vector<std::int64_t> lengths, std::optional<std::int64_t> offset = std::nullopt);

// Tree attention of speculative decoding (SpecInfer, Miao et al. 2023, arXiv 2305.09781; Medusa,
// Cai et al. 2024, arXiv 2401.10774). The last parents.size() keys are the nodes of a tree of
// drafted tokens, the keys before them a past that all nodes see; a node sees itself and its
// ancestors. parents[n] < n, or -1 where the past is node n's parent. The last query is the last
// node; queries of the past are causal.
Mask tree(std::vector<std::int64_t> parents);
// A tree for each batch entry.
Mask tree_by_batch(std::vector<std::vector<std::int64_t>> parents);

// Local attention (Luong et al. 2015, arXiv 1508.04025, local-p): query i sees keys |j - centre| <=
// width, where its centre is any real number (j counts from 0; a centre that is not a number sees
// nothing). centres: a floating dtype, any strides, a shape that broadcasts to (batch, heads,
// len_q, 1). Read while a plan is made, as tensor's bytes are. Local-m, whose centre is the query's
// own place, is window(width, width, 0).
Mask around(TensorView centres, std::int64_t width);

// An arbitrary boolean tensor, true where attended, of dtype kBool (one byte each), any strides,
// and a shape that broadcasts to (batch, heads, len_q, len_k). The bytes are read while a plan is
// made from the mask (a plan keeps bits), and must stay alive until then.
Mask tensor(TensorView allowed);

}  // namespace regard
