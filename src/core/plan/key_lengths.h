// SPDX-License-Identifier: Apache-2.0
// Keys from a length on are hidden, one length for each batch entry.
#pragma once

#include <utility>

#include "core/plan/mask_node.h"

namespace regard::plan {

// At the top of an expression Layout::build clips Sequence::len_k with it, and nothing of the mask
// remains.
class KeyLengths final : public MaskNode {
 public:
  explicit KeyLengths(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {}

  Status check(const PlanShape& shape) const override;
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override;
  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override;
  bool key_range(const MaskContext& context, std::int64_t, std::int64_t* begin,
                 std::int64_t* end) const override {
    *begin = 0;
    *end = visible(*context.sequence);
    return true;
  }
  bool varies_by_batch() const override { return true; }
  bool varies_by_position() const override { return true; }

  // Keys of the sequence that remain. Lengths count in the tensor's rows, also where documents cut
  // them into sequences.
  std::int64_t visible(const Sequence& sequence) const;

 private:
  std::vector<std::int64_t> lengths_;
};

}  // namespace regard::plan
