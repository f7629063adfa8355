// SPDX-License-Identifier: Apache-2.0
// Weights pooled to the cells of a picture.
//
// Rows of one cell are pooled first, lane by lane, into a strip as long as a chunk; the strip is
// pooled into cells when the rows or the chunk change. So a pair costs an addition or a maximum,
// whatever the size of the cells.

#if defined(REGARD_KERNELS_MAP_PICTURE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_PICTURE_INL_H_
#undef REGARD_KERNELS_MAP_PICTURE_INL_H_
#else
#define REGARD_KERNELS_MAP_PICTURE_INL_H_
#endif

#include <cmath>

#include "core/kernels/map/map_strip-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
class PictureSink {
 public:
  PictureSink(const MapTask& task, std::size_t chunk, Carve& carve) : task_(task) {
    if (task.kind != MapTask::Kind::kPicture) return;
    strip_ = carve.Take<T>(chunk);
    cells_ = carve.Take<double>(static_cast<std::size_t>(task.most_rows * task.out.shape[3]));
    chunk_ = chunk;
  }

  void Begin(const MapItem& item) {
    first_ = CellRow(item.begin);
    count_ = CellRow(item.end - 1) + 1 - first_;
    std::fill_n(cells_, count_ * Width(), 0.0);
    std::fill_n(strip_, chunk_, T{0});
    row_ = -1;
  }

  void BeginChunk(const MapAxis& keys, std::int64_t count) {
    keys_ = keys;
    keys_count_ = count;
  }

  void Take(const MapStrip<T>& strip) {
    for (std::size_t r = strip.begin; r < strip.end;) {
      const std::int64_t row = CellRow(strip.rows.At(static_cast<std::int64_t>(r)));
      std::size_t end = r + 1;
      while (end < strip.end && CellRow(strip.rows.At(static_cast<std::int64_t>(end))) == row)
        ++end;
      if (row != row_) Flush();
      if (row_ < 0) low_ = strip.panels[0], high_ = low_;
      row_ = row;
      low_ = std::min<std::size_t>(low_, strip.panels[0]);
      high_ = std::max<std::size_t>(high_, strip.panels[strip.count - 1] + std::size_t{1});
      task_.pooling == Pooling::kMax ? Pool<true>(strip, r, end) : Pool<false>(strip, r, end);
      r = end;
    }
  }

  // Pools the strip into its row of cells.
  void Flush() {
    if (row_ < 0) return;
    const std::int64_t end = std::min(keys_count_, static_cast<std::int64_t>(high_ * kWidth<T>));
    double* cells = cells_ + (row_ - first_) * Width();
    for (std::int64_t place = static_cast<std::int64_t>(low_ * kWidth<T>), last; place < end;
         place = last) {
      const std::int64_t key = keys_.At(place) - task_.region.key_begin;
      last = place + 1;
      if (key < 0 || key >= Keys()) continue;
      const std::int64_t cell = key * Width() / Keys();
      last = SameCell(place, end, task_.region.key_begin + CeilDiv((cell + 1) * Keys(), Width()));
      const T* HWY_RESTRICT from = strip_ + place;
      cells[cell] = task_.pooling == Pooling::kMax ? Largest(cells[cell], from, last - place)
                                                   : cells[cell] + Sum(from, last - place);
    }
    std::fill(strip_ + low_ * kWidth<T>, strip_ + high_ * kWidth<T>, T{0});
    row_ = -1;
  }

  void End(const MapItem& item) {
    const RowsView head = HeadOfAnswer(task_, task_.out, item);
    for (std::int64_t row = 0; row < count_; ++row) {
      for (std::int64_t cell = 0; cell < Width(); ++cell) {
        double value = cells_[row * Width() + cell];
        if (task_.pooling == Pooling::kMean)
          value /= static_cast<double>(Extent(first_ + row, Height(), Rows()) *
                                       Extent(cell, Width(), Keys()));
        static_cast<T*>(const_cast<void*>(head.base))[(first_ + row) * head.row + cell * head.col] =
            static_cast<T>(value);
      }
    }
  }

 private:
  static std::int64_t CeilDiv(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }
  // Where the keys from `place` on, up to `end`, reach key `bound` of the tensors or, in another
  // order, begin again before it.
  std::int64_t SameCell(std::int64_t place, std::int64_t end, std::int64_t bound) const {
    if (keys_.order == nullptr) return std::min(end, bound - keys_.first);
    std::int64_t last = place + 1;
    while (last < end && keys_.order[last] > keys_.order[last - 1] && keys_.At(last) < bound)
      ++last;
    return last;
  }
  std::int64_t Height() const { return task_.out.shape[2]; }
  std::int64_t Width() const { return task_.out.shape[3]; }
  std::int64_t Rows() const { return task_.region.row_end - task_.region.row_begin; }
  std::int64_t Keys() const { return task_.region.key_end - task_.region.key_begin; }
  std::int64_t CellRow(std::int64_t row) const {
    return (row - task_.region.row_begin) * Height() / Rows();
  }
  // Rows (or keys) of one cell.
  static std::int64_t Extent(std::int64_t cell, std::int64_t cells, std::int64_t of) {
    return CeilDiv((cell + 1) * of, cells) - CeilDiv(cell * of, cells);
  }

  // Rows [begin, end) of a strip of tiles, lane by lane. A maximum forgets NaN; a sum beside it
  // does not.
  template <bool kMax>
  HWY_NOINLINE void Pool(const MapStrip<T>& strip, std::size_t begin, std::size_t end) {
    const Tag<T> d;
    for (std::size_t u = 0; u < strip.count; ++u) {
      T* HWY_RESTRICT to = strip_ + strip.panels[u] * kWidth<T>;
      for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
        const T* HWY_RESTRICT from = strip.tiles[u] + lane;
        auto sum = hn::Load(d, to + lane), largest = sum;
        for (std::size_t r = begin; r < end; ++r) {
          const auto p = hn::Load(d, from + r * kWidth<T>);
          sum = hn::Add(sum, p);
          if constexpr (kMax) largest = hn::Max(largest, p);
        }
        hn::Store(kMax ? hn::IfThenElse(hn::IsNaN(sum), sum, largest) : sum, d, to + lane);
      }
    }
  }
  static double Sum(const T* HWY_RESTRICT from, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(from[i]);
    return sum;
  }
  static double Largest(double largest, const T* HWY_RESTRICT from, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const auto x = static_cast<double>(from[i]);
      if (x > largest || std::isnan(x)) largest = x;
    }
    return largest;
  }

  const MapTask& task_;
  T* strip_ = nullptr;
  double* cells_ = nullptr;
  std::size_t chunk_ = 0, low_ = 0, high_ = 0;  // panels of the strip that hold something
  std::int64_t first_ = 0, count_ = 0;          // rows of cells that the item owns
  std::int64_t row_ = -1;                       // the row of cells that the strip belongs to; none
  MapAxis keys_{};                              // of the chunk
  std::int64_t keys_count_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
