// SPDX-License-Identifier: Apache-2.0
// & and | of two masks. Layout::build makes sequences of those operands of & that it
// can (documents, key lengths); what remains is evaluated tile by tile.
#pragma once

#include <utility>

#include "core/plan/mask_node.h"

namespace regard::plan {

using NodePointer = std::shared_ptr<const MaskNode>;

// The expression over what `replace` makes of its masks.
NodePointer replace_masks(const NodePointer& node, const MaskNode::Replace& replace);

class Binary : public MaskNode {
 public:
  Binary(NodePointer a, NodePointer b)
      : a_(std::move(a)), b_(std::move(b)), size_(1 + a_->size() + b_->size()) {}

  const NodePointer& a() const { return a_; }
  const NodePointer& b() const { return b_; }

  Status check(const PlanShape& shape) const override;
  bool varies_by_head() const override { return a_->varies_by_head() || b_->varies_by_head(); }
  bool varies_by_batch() const override { return a_->varies_by_batch() || b_->varies_by_batch(); }
  bool varies_by_position() const override {
    return a_->varies_by_position() || b_->varies_by_position();
  }
  int size() const override { return size_; }

 private:
  NodePointer a_, b_;
  int size_;
};

class And final : public Binary {
 public:
  using Binary::Binary;
  NodePointer bind(const PlanShape& shape) const override;
  NodePointer over(const NodePointer& self, const Replace& replace) const override;
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override;
  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    return a()->bits(context, i, j0) & b()->bits(context, i, j0);
  }
  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override;
};

}  // namespace regard::plan
