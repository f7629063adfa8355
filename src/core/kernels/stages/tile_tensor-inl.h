// SPDX-License-Identifier: Apache-2.0
// A tensor's elements under a tile, from any strided view: taken into the tile (biases,
// multipliers), or added to it (their gradients).

#if defined(REGARD_KERNELS_TILE_TENSOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TILE_TENSOR_INL_H_
#undef REGARD_KERNELS_TILE_TENSOR_INL_H_
#else
#define REGARD_KERNELS_TILE_TENSOR_INL_H_
#endif

#include <algorithm>

#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/tile/pack-inl.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

struct Plus {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};
struct Times {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Mul(a, b);
  }
};

// Whether a tile's rows lie side by side in the tensor and its lanes apart: keys and queries of the
// backward pass, in a tensor as users have them. Element by element would take as long as all
// products of the tile, so the tile is transposed.
HWY_INLINE bool IsTransposed(const TileStrides& s) {
  return s.row == 1 && s.lane != 0 && s.lane != 1;
}

// The tensor's elements under a tile that lies transposed, in the tile's orientation.
template <typename T>
HWY_NOINLINE void ReadTransposed(const TensorView& view, const TileStrides& s,
                                 const ScoreTile<T>& tile, T* HWY_RESTRICT to) {
  const hn::CappedTag<T, kBlock<T>> d;
  HWY_ALIGN T copies[kWidth<T> * kRows], zeros[kRows] = {};
  const T* lanes[kWidth<T>];
  std::fill_n(lanes, kWidth<T>, zeros);
  const bool own = view.dtype == OwnDType<T>(), in_blocks = InKernelWidth<T>(view.dtype);
  for (std::size_t c = 0; c < tile.lanes; ++c) {
    const std::int64_t at = s.first + static_cast<std::int64_t>(c) * s.lane;
    lanes[c] = own ? static_cast<const T*>(view.data) + at : copies + c * kRows;
    std::size_t r = 0;
    for (; !own && in_blocks && r + kBlock<T> <= tile.rows; r += kBlock<T>) {
      hn::StoreU(LoadAs(d, view.dtype, view.data, at + static_cast<std::int64_t>(r)), d,
                 copies + c * kRows + r);
    }
    for (; !own && r < tile.rows; ++r)
      copies[c * kRows + r] =
          ElementAs<T>(view.dtype, view.data, at + static_cast<std::int64_t>(r));
  }
  PackLanes(lanes, tile.lanes, tile.rows, T{1}, to);
}

// to <- op(to, element) over a tile's rows and lanes; `to` is laid out as the tile.
template <class Op, typename T>
HWY_NOINLINE void TakeTensor(const TensorView& view, const ScoreTile<T>& tile, T* HWY_RESTRICT to) {
  const Tag<T> d;
  const hn::CappedTag<T, 1> d1;
  const TileStrides s = StridesOf(view, tile);
  const bool transposed = IsTransposed(s),
             side_by_side = s.lane == 1 && InKernelWidth<T>(view.dtype);
  HWY_ALIGN T elements[kRows * kWidth<T>];
  if (transposed) ReadTransposed(view, s, tile, elements);
  for (std::size_t r = 0; r < tile.rows; ++r, to += kWidth<T>) {
    const std::int64_t at = s.first + static_cast<std::int64_t>(r) * s.row;
    std::size_t c = 0;
    if (transposed || s.lane == 0) {
      const auto value = hn::Set(d, transposed ? T{0} : ElementAs<T>(view.dtype, view.data, at));
      for (; c < kWidth<T>; c += kLanes<T>) {
        hn::Store(Op()(hn::Load(d, to + c),
                       transposed ? hn::Load(d, elements + r * kWidth<T> + c) : value),
                  d, to + c);
      }
      continue;
    }
    for (; side_by_side && c + kLanes<T> <= tile.lanes; c += kLanes<T>) {
      hn::Store(Op()(hn::Load(d, to + c),
                     LoadAs(d, view.dtype, view.data, at + static_cast<std::int64_t>(c))),
                d, to + c);
    }
    for (; c < tile.lanes; ++c) {
      const T element =
          ElementAs<T>(view.dtype, view.data, at + static_cast<std::int64_t>(c) * s.lane);
      to[c] = hn::GetLane(Op()(hn::Set(d1, to[c]), hn::Set(d1, element)));
    }
  }
}

// to[i] += from[i].
template <typename T>
HWY_INLINE void AddRun(const T* HWY_RESTRICT from, std::size_t count, T* HWY_RESTRICT to) {
  const hn::CappedTag<T, kBlock<T>> d;
  std::size_t i = 0;
  for (; i + kBlock<T> <= count; i += kBlock<T>)
    hn::StoreU(hn::Add(hn::LoadU(d, to + i), hn::LoadU(d, from + i)), d, to + i);
  for (; i < count; ++i) to[i] += from[i];
}

// The sum of a tile's rows, lane by lane.
template <typename T>
HWY_INLINE void SumRows(const ScoreTile<T>& tile, T* HWY_RESTRICT to) {
  const Tag<T> d;
  for (std::size_t c = 0; c < kWidth<T>; c += kLanes<T>) {
    auto sum = hn::Load(d, tile.data + c);
    for (std::size_t r = 1; r < tile.rows; ++r)
      sum = hn::Add(sum, hn::Load(d, tile.data + r * kWidth<T> + c));
    hn::Store(sum, d, to + c);
  }
}

// Adds a tile to a tensor of the kernel's own type. What a broadcast axis sums up is summed within
// the tile first: the total then has two short sums behind it instead of one long one, and rounds
// less.
template <typename T>
HWY_NOINLINE void AddToTensor(const MutableTensorView& view, const ScoreTile<T>& tile) {
  if (!view.given()) return;
  const TileStrides s = StridesOf(view, tile);
  T* base = static_cast<T*>(view.data) + s.first;
  if (IsTransposed(s)) {
    HWY_ALIGN T transposed[kWidth<T> * kRows + kBlock<T>];
    const T* rows[kRows];
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = tile.data + r * kWidth<T>;
    PackRows(rows, kWidth<T>, transposed);
    for (std::size_t c = 0; c < tile.lanes; ++c)
      AddRun(transposed + c * kRows, tile.rows, base + static_cast<std::int64_t>(c) * s.lane);
    return;
  }
  HWY_ALIGN T row_sum[kWidth<T>];
  const bool over_rows = s.row == 0;
  if (over_rows) SumRows(tile, row_sum);
  for (std::size_t r = 0; r < (over_rows ? 1 : tile.rows); ++r) {
    const T* HWY_RESTRICT from = over_rows ? row_sum : tile.data + r * kWidth<T>;
    T* to = base + static_cast<std::int64_t>(r) * s.row;
    if (s.lane == 0) {
      T sum = from[0];
      for (std::size_t c = 1; c < tile.lanes; ++c) sum += from[c];
      to[0] += sum;
    } else if (s.lane == 1) {
      AddRun(from, tile.lanes, to);
    } else {
      for (std::size_t c = 0; c < tile.lanes; ++c)
        to[static_cast<std::int64_t>(c) * s.lane] += from[c];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
