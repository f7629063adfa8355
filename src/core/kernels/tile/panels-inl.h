// SPDX-License-Identifier: Apache-2.0
// Which panels of a chunk of keys a group of rows uses.

#if defined(REGARD_KERNELS_PANELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PANELS_INL_H_
#undef REGARD_KERNELS_PANELS_INL_H_
#else
#define REGARD_KERNELS_PANELS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/tile/operands-inl.h"
#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/simd-inl.h"
#include "core/plan/layout.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The first interval that ends behind key `key`.
inline std::span<const plan::Interval>::iterator FirstBehind(
    std::span<const plan::Interval> intervals, std::int64_t key) {
  return std::partition_point(intervals.begin(), intervals.end(),
                              [key](const plan::Interval& i) { return i.end <= key; });
}

// Lanes [begin, end) of a panel, of which there is one at least: those that hold all that somebody
// sees.
struct UsedLanes {
  std::uint8_t begin, end;

  // The vector of the panel that they begin in, and whether they end there.
  template <typename T>
  std::size_t lane() const {
    return begin / kLanes<T> * kLanes<T>;
  }
  template <typename T>
  bool narrow() const {
    return end <= lane<T>() + kLanes<T>;
  }
};

// A panel of keys that some row sees; where not partial, every row sees every key of it.
struct PanelUse : UsedLanes {
  std::uint16_t panel;
  bool partial;
};

// Fills `uses` with the panels of keys [chunk, chunk_end) that rows [row, row + rows) see, in
// order, and for each partial one kRows words of visible lanes (bit b: lane b). Returns how many
// there are.
template <typename T>
HWY_NOINLINE std::size_t UsePanels(const plan::Layout& layout, std::size_t sequence,
                                   std::int32_t head, std::int64_t unit, std::int64_t row,
                                   std::size_t rows, std::int64_t chunk, std::int64_t chunk_end,
                                   PanelUse* uses, std::uint64_t* words) {
  const auto intervals = layout.unit(sequence, head, unit);
  auto interval = FirstBehind(intervals, chunk);
  std::size_t count = 0;
  for (; interval != intervals.end() && interval->begin < chunk_end; ++interval) {
    const std::size_t begin =
        static_cast<std::size_t>(std::max<std::int64_t>(interval->begin, chunk) - chunk);
    const std::size_t end =
        static_cast<std::size_t>(std::min<std::int64_t>(interval->end, chunk_end) - chunk);
    for (std::size_t p = begin / kWidth<T>; p * kWidth<T> < end; ++p) {
      const std::size_t first = p * kWidth<T>;
      const std::uint8_t from = static_cast<std::uint8_t>(std::max(begin, first) - first);
      const std::uint8_t to = static_cast<std::uint8_t>(std::min(end, first + kWidth<T>) - first);
      if (count != 0 && uses[count - 1].panel == p) {
        uses[count - 1].end = to;
        uses[count - 1].partial |= !interval->full;  // two intervals that do not meet leave a gap:
                                                     // partial already, as neither is whole
      } else {
        uses[count++] = {
            {from, to}, static_cast<std::uint16_t>(p), !interval->full || to - from != kWidth<T>};
      }
    }
  }
  std::size_t kept = 0, read_end = 0;
  std::uint64_t read[kRows];  // the 64 keys before read_end, of each row: they serve several panels
  for (std::size_t u = 0; u < count; ++u) {
    PanelUse use = uses[u];
    if (use.partial) {
      std::uint64_t* out = words + kept * kRows;
      const std::size_t at = use.panel * kWidth<T>;
      if (read_end < at + kWidth<T>) {
        read_end = at + 64;
        layout.bits(sequence, head, row, static_cast<int>(rows),
                    chunk + static_cast<std::int64_t>(at), read);
      }
      constexpr std::uint64_t kLow =
          kWidth<T> == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << kWidth<T>)-1;
      std::uint64_t any = 0, all = kLow;
      for (std::size_t r = 0; r < rows; ++r) {
        out[r] = read[r] >> (at + 64 - read_end) & kLow;
        any |= out[r];
        all &= out[r];
      }
      for (std::size_t r = rows; r < kRows; ++r) out[r] = 0;
      // An interval speaks for a whole unit, which may hold more rows than this group.
      if (any == 0) continue;
      use.partial = all != kLow;
    }
    uses[kept++] = use;
  }
  return kept;
}

// Where a product finds the panels of rows from `first` on: in the tensor itself, or in `memory`,
// where they are to be packed.
template <class Ops>
HWY_INLINE Panels<typename Ops::Packed> PanelsAt(bool in_place, const RowsView& head,
                                                 std::int64_t first,
                                                 const typename Ops::Packed* memory,
                                                 std::size_t panel_stride) {
  if (in_place) return Ops::PanelsInPlace(head, first);
  return {memory, kWidth<typename Ops::T>, static_cast<std::int64_t>(panel_stride)};
}

// The weights and values of the keys of panel u that some row sees; of all its keys where a matrix
// unit multiplies whole panels.
template <class Ops>
struct UsedPart {
  using Packed = typename Ops::Packed;
  const Packed* weights;  // [use][kRows][kWidth]
  Columns<Packed> values;
  const PanelUse* uses;
  HWY_INLINE ProductPart<Packed> operator()(std::size_t u) const {
    constexpr std::size_t kPanel = kWidth<typename Ops::T> / Ops::kPair;
    const std::size_t from = Ops::kMatrixUnit ? 0 : uses[u].begin / Ops::kPair;
    const std::size_t to = Ops::kMatrixUnit ? kPanel : (uses[u].end + Ops::kPair - 1) / Ops::kPair;
    return {{weights + u * kRows * kPanel + from, static_cast<std::int64_t>(kPanel), 1},
            values.from(uses[u].panel * kPanel + from),
            to - from};
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
