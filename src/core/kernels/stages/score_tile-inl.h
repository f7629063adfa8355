// SPDX-License-Identifier: Apache-2.0
// The tile of scores that a stage sees, and tensors in its orientation.

#if defined(REGARD_KERNELS_SCORE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SCORE_TILE_INL_H_
#undef REGARD_KERNELS_SCORE_TILE_INL_H_
#else
#define REGARD_KERNELS_SCORE_TILE_INL_H_
#endif

#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/simd-inl.h"
#include "core/plan/layout.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Forward tiles have queries as rows and keys as lanes, backward tiles keys as rows and queries as
// lanes. Rows are kWidth apart; queries and keys are neighbours in the tensors, or nothing looks at
// their positions.
template <typename T>
struct ScoreTile {
  T* data;
  std::size_t rows, lanes;  // that exist; lanes behind them hold anything
  std::int64_t query, key;  // tensor rows of the tile's first query and key
  std::int64_t i,
      j;  // the same, counted in their own sequence (of the whole, where this is a part)
  std::int64_t offset;  // of that sequence: len_k - len_q
  std::int64_t batch, head;
  bool rows_are_keys;
  std::size_t slot;  // backward: where partial sums of this (key block, sequence, head) lie

  std::size_t queries() const { return rows_are_keys ? lanes : rows; }
  std::size_t keys() const { return rows_are_keys ? rows : lanes; }
};

// A tile from query i and key j of a sequence on, whose data, rows, lanes, head and slot are still
// to be set.
template <typename T>
HWY_INLINE ScoreTile<T> TileFrom(const plan::Sequence& sequence, std::int64_t i, std::int64_t j,
                                 bool rows_are_keys) {
  ScoreTile<T> tile{};
  tile.query = sequence.q_begin + i;
  tile.key = sequence.k_begin + j;
  tile.i = sequence.i_begin + i;
  tile.j = sequence.j_begin + j;
  tile.offset = sequence.offset;
  tile.batch = sequence.batch;
  tile.rows_are_keys = rows_are_keys;
  return tile;
}

// A tensor in the orientation of a tile: element of (row r, lane c) is at first + r * row + c *
// lane.
struct TileStrides {
  std::int64_t first, row, lane;
};

template <typename T, class View>
HWY_INLINE TileStrides StridesOf(const View& view, const ScoreTile<T>& tile) {
  const std::int64_t q = view.strides[2], k = view.strides[3];
  const std::int64_t first =
      tile.batch * view.strides[0] + tile.head * view.strides[1] + tile.query * q + tile.key * k;
  return tile.rows_are_keys ? TileStrides{first, k, q} : TileStrides{first, q, k};
}

// The one element of a tensor that holds a number per head (and batch entry).
template <typename T>
HWY_INLINE T HeadElement(const TensorView& view, const ScoreTile<T>& tile) {
  return ElementAs<T>(view.dtype, view.data,
                      tile.batch * view.strides[0] + tile.head * view.strides[1]);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
