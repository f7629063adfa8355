// SPDX-License-Identifier: Apache-2.0
// Masks whose rows are counted by their places in a row order.
#pragma once

#include "core/plan/compose.h"
#include "core/plan/row_order.h"

namespace regard::plan {

// Finds the masks of an expression for which another order of rows helps: dilated windows and
// global tokens.
class OrderWish {
 public:
  explicit OrderWish(const NodePointer& mask);
  bool none() const { return dilated_.empty() && global_.empty(); }
  std::int64_t step(std::int32_t head) const;
  // Fills the order of a sequence's rows for one head; false where it would change nothing.
  bool order(const MaskContext& context, RowOrder* order) const;

 private:
  std::vector<NodePointer> dilated_, global_;
};

// The same mask, counted by places: intervals and bits of keys in the order of the context, for
// rows in it. Where a context has no order, by rows.
NodePointer ordered(const NodePointer& mask);

}  // namespace regard::plan
