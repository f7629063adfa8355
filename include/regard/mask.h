// Which keys a query may see. Masks are values; they compose with & | and ~.
//
//   Mask m = causal() & window(4096, 0);         // a decoder with a sliding window
//   Mask p = causal() & documents(cu_q, cu_k);   // packed sequences, causal within each
//
// Query i and key j count from 0 in the whole sequence (for packed sequences: in their own document).
// A default-constructed Mask hides nothing.
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

// Query i sees keys j <= i + offset. Without an offset: len_k - len_q, so that the last query sees the last key
// (bottom-right aligned, as flash-attention). Offset 0 is top-left aligned, as PyTorch's is_causal.
Mask causal(std::optional<std::int64_t> offset = std::nullopt);

// Query i sees keys i + offset - left <= j <= i + offset + right, both ends included; -1 leaves a side unbounded.
// The offset defaults as causal's does. left and right below -1 are an error when the mask is used.
Mask window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset = std::nullopt);

// Sequence b of the batch has lengths[b] keys (one length for each batch entry, 0 <= length <= len_k).
// Keys from there on are neither seen nor read. Does not move causal's or window's offset.
Mask key_lengths(std::vector<std::int64_t> lengths);

// Packed sequences ("thd"): document n holds query rows [cu_q[n], cu_q[n+1]) and key rows [cu_k[n], cu_k[n+1]); a query sees
// keys of its own document. Both lists start at 0, never fall, have one entry more than there are documents, and do not pass
// the number of rows; rows past the last entry belong to no document and see nothing. Under `&`, causal and window count
// within each document, and a row's result is bitwise what it is when its document is computed alone.
Mask documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k);

// An arbitrary boolean tensor, true where attended, of dtype kBool (one byte each), any strides, and a shape that broadcasts to
// (batch, heads, len_q, len_k). The bytes are read while a plan is made from the mask, and must stay alive until then.
Mask tensor(TensorView allowed);

}  // namespace regard
