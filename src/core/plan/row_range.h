// SPDX-License-Identifier: Apache-2.0
// Masks in which each row sees one range of keys: all that such a mask says is which.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/plan/interval_list.h"
#include "core/plan/mask_node.h"

namespace regard::plan {

// Keys [begin, end) that a row sees; what lies outside [0, len_k) counts for nothing.
struct RowRange {
  std::int64_t begin, end;
};

// `Own` derives from this and has
//   RowRange range(const MaskContext&, std::int64_t i) const     of row i
//   static constexpr bool kRises
//     neither end falls from row to row, and the ranges of neighbours leave no gap between them
template <class Own>
class RowRangeMask : public MaskNode {
 public:
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    const std::int64_t len_k = context.sequence->len_k;
    const RowRange first = own().range(context, i0);
    if constexpr (Own::kRises) {
      const RowRange last = own().range(context, i1 - 1);
      append_both(out, {std::max<std::int64_t>(first.begin, 0), std::min(last.end, len_k)},
                  {last.begin, first.end});
    } else {
      thread_local std::vector<RowRange> rows;
      rows.clear();
      RowRange all{0, len_k};
      for (std::int64_t i = i0; i < i1; ++i) {
        const RowRange row = own().range(context, i);
        all = {std::max(all.begin, row.begin), std::min(all.end, row.end)};
        if (row.begin < std::min(row.end, len_k)) rows.push_back(row);
      }
      std::sort(rows.begin(), rows.end(),
                [](const RowRange& a, const RowRange& b) { return a.begin < b.begin; });
      for (std::size_t r = 0; r < rows.size();) {
        RowRange some = rows[r];
        for (++r; r < rows.size() && rows[r].begin <= some.end; ++r)
          some.end = std::max(some.end, rows[r].end);
        append_both(out, {some.begin, std::min(some.end, len_k)}, all);
      }
    }
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    const RowRange row = own().range(context, i);
    return range_bits(row.begin, row.end, j0);
  }

  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override {
    for (int r = 0; r < rows; ++r) {
      const RowRange row = own().range(context, i + r);
      words[r] = range_bits(row.begin, row.end, j0);
    }
  }

  bool key_range(const MaskContext& context, std::int64_t i, std::int64_t* begin,
                 std::int64_t* end) const override {
    const RowRange row = own().range(context, i);
    *begin = row.begin;
    *end = row.end;
    return true;
  }

 private:
  const Own& own() const { return static_cast<const Own&>(*this); }

  // Keys that some rows see, of which all rows see those in `all`: where that is not empty, it lies
  // in the one range that there is.
  static void append_both(std::vector<Interval>& out, RowRange some, RowRange all) {
    all = {std::max(all.begin, some.begin), std::min(all.end, some.end)};
    if (all.begin >= all.end) return append(out, some.begin, some.end, false);
    append(out, some.begin, all.begin, false);
    append(out, all.begin, all.end, true);
    append(out, all.end, some.end, false);
  }
};

}  // namespace regard::plan
