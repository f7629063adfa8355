// SPDX-License-Identifier: Apache-2.0
// Prefetches between tiles: what the next item reads and writes, as short heads end before the
// processor's own prefetcher sees a pattern; and the rows that an item will pack next, each of
// which would otherwise be waited for.

#if defined(REGARD_KERNELS_PREFETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PREFETCH_INL_H_
#undef REGARD_KERNELS_PREFETCH_INL_H_
#else
#define REGARD_KERNELS_PREFETCH_INL_H_
#endif

#include <algorithm>

#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/target-inl.h"
#include "core/kernels/tiling.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// What the next item reads and writes, a few lines at a time between this item's tiles: a processor
// keeps some tens of them in flight, and stalls when there are more. One object for each item; its
// pass adds what the next one needs (forward/next_item-inl.h, backward/next_item-inl.h).
class ItemPrefetch {
 public:
  // Keys of a panel, rows of a group: what passes count their tiles in.
  static constexpr auto kPanel = static_cast<std::int64_t>(kWidth<float>),
                        kGroup = static_cast<std::int64_t>(kRows);

  // Rows [first_row, first_row + rows) of one head of a view, which may not be given.
  template <bool kWritten, class View>
  void Add(const View& view, std::int64_t batch, std::int64_t head, std::int64_t first_row,
           std::int64_t rows) {
    if (!view.given() || view.strides[3] != 1 || rows <= 0 || count_ == kMostTensors) return;
    const auto size = static_cast<std::int64_t>(size_of(view.dtype));
    Lines some{nullptr, view.strides[2] * size, rows,
               (view.shape[3] * size + kCacheLine - 1) / kCacheLine};
    if (some.stride == 0) some.rows = 1;
    std::int64_t lines = some.rows * some.in_row;
    if (some.stride > 0 && some.stride <= some.in_row * kCacheLine) {
      lines = ((rows - 1) * some.stride + view.shape[3] * size + kCacheLine - 1) / kCacheLine;
      some = {nullptr, kRun * kCacheLine, (lines + kRun - 1) / kRun, std::min(lines, kRun)};
    }
    const std::int64_t bytes = lines * kCacheLine;
    if (bytes == 0 || bytes > kMostPrefetchBytes || (kWritten && bytes <= kFewBytes)) return;
    some.row = static_cast<const char*>(RowsView::of(view, batch, head, first_row).base);
    tensors_[count_++] = some;
    lines_ += lines;
  }
  // After all Add(): spreads the lines over about `steps` calls of Step().
  void Share(std::int64_t steps) {
    lines_in_step_ = (lines_ + steps - 1) / std::max<std::int64_t>(1, steps);
  }

  // Between tiles.
  HWY_INLINE void Step() {
    if (at_ < count_) Prefetch();
  }

 private:
  // Few bytes that are written wait in the processor's store buffer, and hold nothing up.
  static constexpr std::int64_t kFewBytes = 2048;
  static constexpr std::int64_t kRun = 8;  // lines of a run are prefetched together
  static constexpr std::size_t kMostTensors = 16;

  // Rows, or runs of lines where there are no gaps between rows.
  struct Lines {
    const char* row;
    std::int64_t stride, rows, in_row;
  };

  // Must change state: GCC drops calls of a function that only prefetches.
  HWY_NOINLINE void Prefetch() {
    for (std::int64_t lines = 0; lines < lines_in_step_;) {
      Lines& some = tensors_[at_];
      const char* const end = some.row + some.in_row * kCacheLine;
      for (const char* at = some.row; at != end; at += kCacheLine) __builtin_prefetch(at, 0, 2);
      lines += some.in_row;
      some.row += some.stride;
      if (--some.rows == 0 && ++at_ == count_) return;
    }
  }

  Lines tensors_[kMostTensors];
  std::size_t count_ = 0, at_ = 0;
  std::int64_t lines_ = 0, lines_in_step_ = 0;
};

// The rows of the chunk that an item will pack next, a few at a time between tiles.
class ChunkPrefetch {
 public:
  void Forget() {
    first_ = row_ = end_ = -1;
    heads_count_ = 0;
  }
  // After Forget(): whose rows.
  void Add(const RowsView& head, std::size_t dim) {
    if (head.col == 1) heads_[heads_count_++] = {head, dim};
  }
  // Rows [first, end), among about `steps` calls of Step(). Where `wanted` is given, it says which
  // panels of `panel` rows.
  void Start(std::int64_t first, std::int64_t end, std::size_t steps, const bool* wanted = nullptr,
             std::size_t panel = 1) {
    rows_in_step_ =
        (end - first + static_cast<std::int64_t>(steps) - 1) / static_cast<std::int64_t>(steps);
    if (rows_in_step_ > kMostRows) return Forget();
    first_ = row_ = first;
    end_ = end;
    panel_ = static_cast<std::int64_t>(panel);
    wanted_ = wanted;
  }

  // Whether all of the chunk that begins with this row has been prefetched.
  bool HasPrefetched(std::int64_t first) const { return first == first_ && row_ == end_; }

  // Between tiles.
  HWY_INLINE void Step() {
    if (row_ < end_) Prefetch();
  }

 private:
  // More at a time, and the processor would stall after all.
  static constexpr std::int64_t kMostRows = 4;
  static constexpr std::size_t kMostHeads = 4;

  HWY_NOINLINE void Prefetch() {
    for (std::int64_t i = 0; i < rows_in_step_ && row_ < end_; ++i, ++row_) {
      if (wanted_ != nullptr && !wanted_[(row_ - first_) / panel_]) continue;
      for (std::size_t h = 0; h < heads_count_; ++h)
        PrefetchRow<false>(heads_[h].head, row_, heads_[h].dim);
    }
  }

  struct {
    RowsView head;
    std::size_t dim;
  } heads_[kMostHeads];
  std::size_t heads_count_ = 0;
  std::int64_t first_ = -1, row_ = -1, end_ = -1, panel_ = 1, rows_in_step_ = 0;
  const bool* wanted_ = nullptr;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
