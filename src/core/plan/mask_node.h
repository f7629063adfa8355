// SPDX-License-Identifier: Apache-2.0
// A node of a mask expression: how it cuts query rows into key intervals, and its exact bits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "regard/mask.h"
#include "regard/plan.h"
#include "regard/status.h"

namespace regard::plan {

// How much of some keys some rows see: nothing, some pairs, or all. The order makes & the smaller
// and | the larger of two.
enum class Seen : std::uint8_t { kAbsent, kPartial, kFull };

// Keys [begin, end) of a sequence, for a range of its query rows. Full: every row sees every key.
// Partial: its bits say which.
struct Interval {
  std::int32_t begin, end;
  bool full;
};

// One range of query rows that meets one range of key rows: a batch entry, or a document of a
// packed sequence. Everything inside it (masks, panels, work items) counts from its own first row,
// so that nothing depends on what lies beside it.
struct Sequence {
  std::int32_t batch;
  std::int64_t q_begin, k_begin;  // first row in the tensors
  std::int64_t len_q;
  std::int64_t len_k;   // key rows that may be read (after key_lengths)
  std::int64_t k_rows;  // key rows that it owns, len_k included: the others get gradient 0
  std::int64_t
      offset;  // causal's and window's default: length of the keys (before key_lengths) - len_q
  // Of a part (regard/part.h): the sequence of the whole attention, and its rows at which these
  // begin. The offset is the whole's.
  std::int64_t i_begin = 0, j_begin = 0;
  const Sequence* whole = nullptr;
};

struct RowOrder;

// Where a mask is evaluated: which sequence, which query head.
struct MaskContext {
  const Sequence* sequence;
  std::int32_t head;
  std::int64_t step = 1;            // between the rows of intervals()
  const RowOrder* order = nullptr;  // what Ordered masks count in (row_order.h); others count in
                                    // rows, and do not look at it
};

class MaskNode {
 public:
  virtual ~MaskNode() = default;

  // What is wrong with this mask for tensors of this shape, in the caller's words.
  virtual Status check(const PlanShape&) const { return {}; }

  // Whether every query surely sees every key of tensors of this shape: then the mask need
  // not be evaluated. Called after check().
  virtual bool hides_nothing(const PlanShape&) const { return false; }

  // A copy that is ready to be evaluated, or null where the node itself is. A tensor mask packs its
  // bytes here: they may change between one plan and the next. Called after check().
  virtual std::shared_ptr<const MaskNode> bind(const PlanShape&) const { return nullptr; }

  // Adds to `out` the sorted, disjoint intervals of keys in [0, len_k) that rows i0, i0 +
  // context.step, ... before i1 of the sequence see (Partial where only some pairs do). What is not
  // in an interval is seen by none. `out` arrives empty; i0 < i1. May include rows in between:
  // correct, but looser.
  virtual void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                         std::vector<Interval>& out) const = 0;

  // The 64 pairs of row i and keys j0 ... j0 + 63, bit b for key j0 + b. Bits of keys outside [0,
  // len_k) are unspecified; j0 itself is inside.
  virtual std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const = 0;

  // The same for rows i ... i + rows - 1, at most kMostRows of them: masks that are evaluated often
  // have what neighbours share in common.
  static constexpr int kMostRows = 64;
  virtual void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
                     std::uint64_t* words) const {
    for (int r = 0; r < rows; ++r) words[r] = bits(context, i + r, j0);
  }

  // Where each row sees one range of keys, [*begin, *end) of row i; false where rows may see
  // anything.
  virtual bool key_range(const MaskContext& /*context*/, std::int64_t /*i*/,
                         std::int64_t* /*begin*/, std::int64_t* /*end*/) const {
    return false;
  }

  // The same expression over what `replace` makes of its masks: `self`, which points here, where it
  // makes nothing else of them; null where this is a mask itself.
  using Replace =
      std::function<std::shared_ptr<const MaskNode>(const std::shared_ptr<const MaskNode>&)>;
  virtual std::shared_ptr<const MaskNode> over(const std::shared_ptr<const MaskNode>& /*self*/,
                                               const Replace& /*replace*/) const {
    return nullptr;
  }

  // What the answers may depend on, beside a sequence's lengths and offset: the query head, the
  // batch entry, q_begin and k_begin.
  virtual bool varies_by_head() const { return false; }
  virtual bool varies_by_batch() const { return false; }
  virtual bool varies_by_position() const { return false; }

  // Masks and operators in this expression, each as often as it is met.
  virtual int size() const { return 1; }
};

}  // namespace regard::plan
