// SPDX-License-Identifier: Apache-2.0
// Additive scores, v . tanh(q + k) (Bahdanau et al. 2014, arXiv 1409.0473), as Forward needs
// them: packs the exponentials of rows and makes tiles.

#if defined(REGARD_KERNELS_ADDITIVE_SCORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_SCORE_INL_H_
#undef REGARD_KERNELS_ADDITIVE_SCORE_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_SCORE_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/scores/additive_pairs-inl.h"
#include "core/kernels/scores/additive_rows-inl.h"
#include "core/kernels/scores/additive_tile-inl.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where the exponentials of a head's keys lie ready; no base where they do not.
inline RowsView PreparedHead(const AdditiveVectors& additive, const plan::Sequence& sequence,
                             const RowsView& k, std::int64_t kv_head) {
  if (!additive.prepared_keys.given()) return {};
  return RowsView::of(additive.prepared_keys, sequence.batch, kv_head, sequence.k_begin, k.order,
                      k.prefetch);
}

// Columns that fill up the last quad count as 0 on both sides.
template <typename T>
HWY_INLINE void ClearColumns(T* HWY_RESTRICT packed, std::size_t dim, std::size_t width) {
  std::fill(packed + dim * width, packed + RoundUp(dim, 4) * width, T{0});
}

// Writes over a tile's pairs that the exponentials do not serve (see additive_exp-inl.h): one pair
// at a time, from the tensors' own rows.
template <typename T>
HWY_NOINLINE void MendTile(const ScoreTile<T>& tile, const ExponentialRows& rows,
                           const ExponentialRows& lanes, std::size_t dim,
                           const std::uint8_t* row_kinds, const std::uint8_t* lane_kinds,
                           const AdditiveVector<T>& v, T* HWY_RESTRICT pair_rows,
                           std::size_t stride) {
  for (std::size_t r = 0; r < tile.rows; ++r) {
    bool copied = false;
    for (std::size_t lane = 0; lane < tile.lanes; ++lane) {
      if (row_kinds[r] + lane_kinds[lane] < 2) continue;
      if (!copied)
        CopyPlainRow(rows.head, rows.first + static_cast<std::int64_t>(r), dim, pair_rows);
      copied = true;
      CopyPlainRow(lanes.head, lanes.first + static_cast<std::int64_t>(lane), dim,
                   pair_rows + stride);
      tile.data[r * kWidth<T> + lane] = AdditivePair(pair_rows, pair_rows + stride, dim, v);
    }
  }
}

template <typename Float>
class AdditiveScore {
 public:
  using Ops = PlainOps<Float>;
  using T = Float;
  using Packed = Float;
  static constexpr bool kInRegisters = false;

  // Room for a row in whole quads, or in whole panels.
  static std::size_t Inner(std::size_t dim) {
    return RoundUp(dim, std::max<std::size_t>(4, kWidth<T>));
  }
  AdditiveScore(const ForwardTask& task, Carve& carve)
      : task_(task),
        dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        inner_(Inner(dim_)),
        stride_(CopyStride(dim_)) {
    query_kinds_ = carve.Take<std::uint8_t>(kMaxUnits * static_cast<std::size_t>(plan::kRowUnit));
    key_kinds_ =
        carve.Take<std::uint8_t>(ChunkKeys(dim_, static_cast<std::size_t>(task.inputs.v.shape[3])));
    pair_rows_ = carve.Take<T>(2 * stride_);
    query_rows_ =
        carve.Take<ExponentialRows>(kMaxUnits * static_cast<std::size_t>(plan::kRowUnit) / kRows);
  }

  RowsView Start(const plan::Sequence& sequence, const RowsView& k, std::int64_t kv_head) {
    few_ = few_queries(sequence);
    keys_ = {k, PreparedHead(task_.additive, sequence, k, kv_head)};
    return keys_.source();
  }
  Rows<T> PackQueries(const RowsView& q, std::int64_t first, std::size_t n, std::size_t index,
                      const RowBuffers<T>& buffers, T* to) {
    const ExponentialRows from{q, {}, first};
    query_rows_[index / kRows] = from;
    if (few_) return ExponentialRowsAt(from, n, dim_, query_kinds_ + index, to, inner_);
    const T* rows[kRows];
    PointAtExponentials(from, n, kRows, dim_, buffers, query_kinds_ + index, rows);
    PackRows(rows, dim_, to);
    ClearColumns(to, dim_, kRows);
    return {to, 1, kRows};
  }
  void PackKeys(const RowsView& /*k*/, std::int64_t first, std::size_t n, std::size_t lane,
                const RowBuffers<T>& buffers, T* to) {
    const ExponentialRows from = keys_.from(first);
    chunk_begin_ = first - static_cast<std::int64_t>(lane);
    if (few_) {
      ExponentialRowsAt(from, n, dim_, key_kinds_ + lane, to, inner_);
      return;
    }
    const T* rows[kWidth<T>];
    PointAtExponentials(from, n, kWidth<T>, dim_, buffers, key_kinds_ + lane, rows);
    PackLanes(rows, n, dim_, T{1}, to);
    ClearColumns(to, dim_, kWidth<T>);
  }
  void Tile(const ScoreTile<T>& tile, std::size_t row, std::size_t lane, Rows<T> q,
            const T* k) const {
    const AdditiveVector<T> v(task_.additive, tile.batch, tile.head);
    const ExponentialRows keys = keys_.from(chunk_begin_ + static_cast<std::int64_t>(lane));
    if (few_) {
      const Rows<T> lanes =
          keys.InPlace<T>(dim_) ? keys.At<T>(0) : Rows<T>{k, static_cast<std::int64_t>(inner_)};
      AdditivePairs(q, tile.rows, lanes, tile.lanes, RoundUp(dim_, kLanes<T>), v, tile.data);
    } else {
      AdditiveTile(q.data, k, tile.rows, v, tile.data);
    }
    if (HWY_UNLIKELY(SomeWide(query_kinds_ + row, tile.rows) ||
                     SomeWide(key_kinds_ + lane, tile.lanes))) {
      MendTile(tile, query_rows_[row / kRows], keys, dim_, query_kinds_ + row, key_kinds_ + lane, v,
               pair_rows_, stride_);
    }
  }

  // What prepare_keys() makes of one head.
  static void PrepareKeys(const TensorView& k, const MutableTensorView& prepared,
                          std::int64_t batch, std::int64_t head, T* row) {
    const ExponentialRows from{RowsView::of(k, batch, head, 0)};
    const RowsView to = RowsView::of(prepared, batch, head, 0);
    const auto cols = static_cast<std::size_t>(k.shape[3]);
    for (std::int64_t i = 0; i < k.shape[2]; ++i) {
      from.Make(static_cast<std::size_t>(i), cols, row);
      WriteRow(row, to, i, cols);
    }
  }

 private:
  const ForwardTask& task_;
  const std::size_t dim_, inner_, stride_;
  std::uint8_t *query_kinds_, *key_kinds_;
  T* pair_rows_;
  ExponentialRows* query_rows_;  // of each group of rows
  ExponentialRows keys_;
  std::int64_t chunk_begin_ = 0;
  bool few_ = false;  // rows are kept as they lie, and scored pair by pair
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
