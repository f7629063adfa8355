// SPDX-License-Identifier: Apache-2.0
// A plan as the kernels read it: sequences, cut into units of query rows, each with its key
// intervals.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/plan/mask_node.h"
#include "core/plan/row_order.h"
#include "regard/part.h"
#include "regard/plan.h"

namespace regard::plan {

// Query rows of one unit: what 12-row and 6-row tiles divide. The same on every instruction set.
inline constexpr std::int64_t kRowUnit = 12;

// Rows of a sequence whose lengths are its own (a cache's): query rows of the tensor from q_begin
// on.
struct OwnLengths {
  std::int64_t q_begin, len_q, len_k;
};

struct Layout {
  PlanShape shape;
  std::shared_ptr<const MaskNode>
      mask;  // what remains to be evaluated; null: nothing is hidden inside a sequence
  std::vector<Sequence>
      sequences;  // together they own every query row and every key row exactly once
  std::vector<Sequence> whole_sequences;  // of a part: those of the attention that it belongs to
  std::int32_t mask_heads = 1;            // 1, or shape.heads where heads differ

  // The intervals of unit u of (sequence s, mask head h) are intervals[offsets[f + u] .. offsets[f
  // + u + 1]), f = first_unit[s * mask_heads + h]. Where `mask` is null these three stay empty:
  // each unit sees [0, len_k) in full.
  std::vector<std::int64_t> first_unit;
  std::vector<std::int64_t> offsets;
  std::vector<Interval> intervals;
  std::vector<Interval>
      whole;  // per sequence, [0, len_k) full: what unit() answers where `mask` is null

  // Where rows are not taken as they lie: all that counts rows of a sequence (units, intervals,
  // bits) then counts places. An index into `orders`, or -1, per (sequence, mask head). Both are
  // empty in a layout of rows as they lie.
  std::vector<RowOrder> orders;
  std::vector<std::int32_t> order_of;

  // The same mask over rows in another order, in which fewer tiles hold it; null where there is
  // none.
  const Layout* ordered() const { return has_ordered_ ? ordered_.get() : nullptr; }

  // Makes this the layout of `mask`; keeps the capacity of its vectors, so that a reused layout
  // allocates nothing for masks of the same size. An error names the mask and what it expected.
  // With a part the mask is that of the whole, and `shape` the part's.
  // With `own`, one entry for each batch entry, sequences have these lengths, and the shape the
  // largest of them.
  Status build(const Mask& mask, const PlanShape& shape,
               const std::optional<Part>& part = std::nullopt,
               std::span<const OwnLengths> own = {});

  std::int64_t units(std::size_t s) const { return (sequences[s].len_q + kRowUnit - 1) / kRowUnit; }
  std::int32_t mask_head(std::int32_t head) const { return mask_heads == 1 ? 0 : head; }
  std::span<const Interval> unit(std::size_t s, std::int32_t head, std::int64_t u) const {
    if (mask == nullptr) return {&whole[s], whole[s].end > 0 ? std::size_t{1} : std::size_t{0}};
    const std::int64_t f = first_unit[s * static_cast<std::size_t>(mask_heads) +
                                      static_cast<std::size_t>(mask_head(head))] +
                           u;
    return {intervals.data() + offsets[f], static_cast<std::size_t>(offsets[f + 1] - offsets[f])};
  }

  const RowOrder* order(std::size_t s, std::int32_t head) const {
    if (order_of.empty()) return nullptr;
    const std::int32_t which = order_of[s * static_cast<std::size_t>(mask_heads) +
                                        static_cast<std::size_t>(mask_head(head))];
    return which < 0 ? nullptr : &orders[static_cast<std::size_t>(which)];
  }
  // The row of each place, for queries and for keys; null where rows lie in order.
  const std::int32_t* query_rows(std::size_t s, std::int32_t head) const {
    const RowOrder* own = order(s, head);
    return own == nullptr ? nullptr : own->queries.rows().data();
  }
  const std::int32_t* key_rows(std::size_t s, std::int32_t head) const {
    const RowOrder* own = order(s, head);
    return own == nullptr ? nullptr : own->keys.rows().data();
  }
  // Whether each `group` of heads, which shares its keys, has one order.
  bool one_order_for_each(std::int64_t group) const;

  // Exact bits for rows [i0, i0 + rows) and keys [j0, j0 + 64): words[r] bit b is pair (i0 + r, j0
  // + b). Bits of keys outside [0, len_k) and of rows outside [0, len_q) are 0.
  void bits(std::size_t s, std::int32_t head, std::int64_t i0, int rows, std::int64_t j0,
            std::uint64_t* words) const;

 private:
  void build_ordered();

  std::unique_ptr<Layout> ordered_;  // kept for its memory where has_ordered_ is not set
  bool has_ordered_ = false;
};

}  // namespace regard::plan
