// Additive scores, v . tanh(q + k) (Bahdanau et al. 2014, arXiv 1409.0473), as Forward asks for them: packs the exponentials of rows and
// makes tiles.

#if defined(REGARD_KERNELS_ADDITIVE_SCORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_SCORE_INL_H_
#undef REGARD_KERNELS_ADDITIVE_SCORE_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_SCORE_INL_H_
#endif

#include <algorithm>

#include "core/kernels/additive_tile-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/ops-inl.h"
#include "core/kernels/pack-inl.h"
#include "core/kernels/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The exponentials of `n` rows of a head, in copies; what a tile or panel lacks in rows points at zeros. `kinds` gets one entry a row.
template <typename T>
HWY_INLINE void PointAtExponentials(const Head& head, std::int64_t first, std::size_t n, std::size_t most, std::size_t cols,
                                    const RowScratch<T>& scratch, std::uint8_t* HWY_RESTRICT kinds, const T** rows) {
  for (std::size_t r = 0; r < n; ++r) {
    T* row = scratch.copies + r * scratch.stride;
    CopyRow(head, first + static_cast<std::int64_t>(r), cols, row);
    kinds[r] = ExponentiateRow(row, cols);
    rows[r] = row;
  }
  for (std::size_t r = n; r < most; ++r) {
    rows[r] = scratch.zeros;
    kinds[r] = kNarrowRow;
  }
}

// Columns that fill up the last quad count as 0 on both sides.
template <typename T>
HWY_INLINE void ClearColumns(T* HWY_RESTRICT packed, std::size_t dim, std::size_t inner, std::size_t width) {
  std::fill(packed + dim * width, packed + inner * width, T{0});
}

// Rows of a head, from one on: the head itself knows in which order they lie.
struct RowsFrom {
  Head head;
  std::int64_t first = 0;
};

// Writes over a tile's pairs that the exponentials do not serve (see additive_exp-inl.h): one pair at a time, from the tensors' own rows.
template <typename T>
HWY_NOINLINE void MendTile(const ScoreTile<T>& tile, const RowsFrom& rows, const RowsFrom& lanes, std::size_t dim,
                           const std::uint8_t* row_kinds, const std::uint8_t* lane_kinds, const AdditiveVector<T>& v,
                           T* HWY_RESTRICT pair_rows, std::size_t stride) {
  for (std::size_t r = 0; r < tile.rows; ++r) {
    bool copied = false;
    for (std::size_t lane = 0; lane < tile.lanes; ++lane) {
      if (row_kinds[r] + lane_kinds[lane] < 2) continue;
      if (!copied) CopyPlainRow(rows.head, rows.first + static_cast<std::int64_t>(r), dim, pair_rows);
      copied = true;
      CopyPlainRow(lanes.head, lanes.first + static_cast<std::int64_t>(lane), dim, pair_rows + stride);
      tile.data[r * kWidth<T> + lane] = AdditivePair(pair_rows, pair_rows + stride, dim, v);
    }
  }
}

inline bool SomeWide(const std::uint8_t* kinds, std::size_t n) {
  return std::any_of(kinds, kinds + n, [](std::uint8_t kind) { return kind != kNarrowRow; });
}

template <typename Float>
class AdditiveScore {
 public:
  using Ops = PlainOps<Float>;
  using T = Float;
  using Packed = Float;
  static constexpr bool kInRegisters = false;

  static std::size_t Inner(std::size_t dim) { return RoundUp(dim, 4); }
  AdditiveScore(const ForwardTask& task, Carve& carve)
      : task_(task), dim_(static_cast<std::size_t>(task.inputs.q.shape[3])), inner_(Inner(dim_)), stride_(CopyStride(dim_)) {
    query_kinds_ = carve.Take<std::uint8_t>(kMaxUnits * static_cast<std::size_t>(plan::kRowUnit));
    key_kinds_ = carve.Take<std::uint8_t>(ChunkKeys(dim_, static_cast<std::size_t>(task.inputs.v.shape[3])));
    pair_rows_ = carve.Take<T>(2 * stride_);
    query_rows_ = carve.Take<RowsFrom>(kMaxUnits * static_cast<std::size_t>(plan::kRowUnit) / kRows);
  }

  Rows<T> PackQueries(const Head& q, std::int64_t first, std::size_t n, std::size_t index, const RowScratch<T>& scratch, T* to) {
    const T* rows[kRows];
    PointAtExponentials(q, first, n, kRows, dim_, scratch, query_kinds_ + index, rows);
    PackRows(rows, dim_, to);
    ClearColumns(to, dim_, inner_, kRows);
    query_rows_[index / kRows] = {q, first};
    return {to, 1, kRows};
  }
  void PackKeys(const Head& k, std::int64_t first, std::size_t n, std::size_t lane, const RowScratch<T>& scratch, T* to) {
    const T* rows[kWidth<T>];
    PointAtExponentials(k, first, n, kWidth<T>, dim_, scratch, key_kinds_ + lane, rows);
    PackLanes(rows, dim_, T{1}, to);
    ClearColumns(to, dim_, inner_, kWidth<T>);
    chunk_keys_ = {k, first - static_cast<std::int64_t>(lane)};
  }
  void Tile(const ScoreTile<T>& tile, std::size_t row, std::size_t lane, Rows<T> q, const T* k) const {
    const AdditiveVector<T> v(task_.additive, tile.batch, tile.head);
    AdditiveTile(q.data, k, tile.rows, v, tile.data);
    if (HWY_UNLIKELY(SomeWide(query_kinds_ + row, tile.rows) || SomeWide(key_kinds_ + lane, tile.lanes))) {
      const RowsFrom keys{chunk_keys_.head, chunk_keys_.first + static_cast<std::int64_t>(lane)};
      MendTile(tile, query_rows_[row / kRows], keys, dim_, query_kinds_ + row, key_kinds_ + lane, v, pair_rows_, stride_);
    }
  }

 private:
  const ForwardTask& task_;
  const std::size_t dim_, inner_, stride_;
  std::uint8_t *query_kinds_, *key_kinds_;
  T* pair_rows_;
  RowsFrom* query_rows_;  // of each group of rows
  RowsFrom chunk_keys_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
