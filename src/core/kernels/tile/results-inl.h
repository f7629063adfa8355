// SPDX-License-Identifier: Apache-2.0
// Results of products on their way from accumulators to sums in memory, and from there to tensors.

#if defined(REGARD_KERNELS_RESULTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_RESULTS_INL_H_
#undef REGARD_KERNELS_RESULTS_INL_H_
#else
#define REGARD_KERNELS_RESULTS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/tile/acc-inl.h"
#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// What becomes of a product's tile.
template <typename T>
struct TileEnd {
  T* sums;   // [row][kWidth]: memory for the tile in any case
  bool add;  // to the sums that are there
  // Where there is more than none, rows of the tile that then go on to their first in a tensor,
  // times `factor`.
  std::size_t rows = 0;
  T factor = 1;
  DType dtype = OwnDType<T>();
  void* tensor = nullptr;
  std::int64_t first = 0, stride = 0;  // element that the tile begins with, and between its rows
};

// A sum of 0 is never -0, whose sign would tell who shared the tile.
template <class D>
HWY_INLINE hn::Vec<D> Finished(D d, hn::Vec<D> x, hn::TFromD<D> factor) {
  return hn::MulAdd(x, hn::Set(d, factor), hn::Zero(d));
}

// The rows that go on, from the sums to their first.
template <class Ops, std::size_t V>
HWY_NOINLINE void WriteTile(const TileEnd<typename Ops::T>& end) {
  using T = typename Ops::T;
  const typename Ops::D d;
  const T* HWY_RESTRICT tile = end.sums;
  for (std::size_t r = 0; r < end.rows; ++r, tile += kWidth<T>) {
    const std::int64_t first = end.first + static_cast<std::int64_t>(r) * end.stride;
    hn::Vec<typename Ops::D> x[V];
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v)
      x[v] = Finished(d, hn::Load(d, tile + v * kLanes<T>), end.factor);
    if (end.dtype == Ops::kElement) {
      Ops::template StoreElements<V>(x, static_cast<typename Ops::Element*>(end.tensor) + first);
      continue;
    }
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v)
      StoreAs(d, x[v], end.dtype, end.tensor, first + static_cast<std::int64_t>(v * kLanes<T>));
  }
}

// Of accumulators that hold what was there, too.
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void EndTile(const Acc<Ops, M, V>& acc, const TileEnd<typename Ops::T>& end) {
  if (end.rows == 0 || end.dtype != Ops::kElement) {
    StoreAcc(acc, end.sums);
    if (end.rows != 0) WriteTile<Ops, V>(end);
    return;
  }
  auto* to = static_cast<typename Ops::Element*>(end.tensor) + end.first;
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r, to += end.stride) {
    if (r >= end.rows) return;
    hn::Vec<typename Ops::D> x[V];
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v) x[v] = Finished(typename Ops::D(), acc.v[r][v], end.factor);
    Ops::template StoreElements<V>(x, to);
  }
}

// The same for `n` rows of a tile in memory.
template <class Ops>
HWY_NOINLINE void EndRows(const typename Ops::T* HWY_RESTRICT tile, std::size_t n, bool narrow,
                          const TileEnd<typename Ops::T>& end) {
  using T = typename Ops::T;
  const Tag<T> d;
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t lane = 0; lane < (narrow ? kLanes<T> : kWidth<T>); lane += kLanes<T>) {
      const auto x = hn::Load(d, tile + r * kWidth<T> + lane);
      T* sum = end.sums + r * kWidth<T> + lane;
      hn::Store(end.add ? hn::Add(x, hn::Load(d, sum)) : x, d, sum);
    }
  }
  if (end.rows != 0) narrow ? WriteTile<Ops, 1>(end) : WriteTile<Ops, 2>(end);
}

// Columns [column, column + n) of row i of a view's head, at most a panel of them, with zeros
// behind.
template <typename T>
HWY_INLINE void LoadPanel(const RowsView& head, std::int64_t i, std::size_t column, std::size_t n,
                          Vec<T>* x) {
  const Tag<T> d;
  const std::int64_t at = head.At(i);
  if (HWY_LIKELY(head.col == 1 && head.dtype == OwnDType<T>() && n == kWidth<T>)) {
    const T* from = static_cast<const T*>(head.base) + at + static_cast<std::int64_t>(column);
    x[0] = hn::LoadU(d, from);
    x[1] = hn::LoadU(d, from + kLanes<T>);
    return;
  }
  HWY_ALIGN T some[kWidth<T>] = {};
  for (std::size_t k = 0; k < n; ++k)
    some[k] =
        ElementAs<T>(head.dtype, head.base, at + static_cast<std::int64_t>(column + k) * head.col);
  x[0] = hn::Load(d, some);
  x[1] = hn::Load(d, some + kLanes<T>);
}

// `n` elements, side by side where `col` is 1, of two vectors, to element `at` of a tensor of Ops'
// own elements.
template <class Ops>
HWY_INLINE void StoreSome(const Vec<typename Ops::T>* x, std::size_t n, void* tensor,
                          std::int64_t at, std::int64_t col) {
  auto* to = static_cast<typename Ops::Element*>(tensor) + at;
  if (HWY_LIKELY(n == kWidth<typename Ops::T> && col == 1))
    return Ops::template StoreElements<2>(x, to);
  HWY_ALIGN typename Ops::Element some[kWidth<typename Ops::T>];
  Ops::template StoreElements<2>(x, some);
  for (std::size_t k = 0; k < n; ++k) to[static_cast<std::int64_t>(k) * col] = some[k];
}

// Writes `cols` elements of a row that lies in panels of kWidth columns, `panel` apart, times
// `factor`, to row i of a view's head; where kAdd, plus row i of `before`. Of sums of 0, as above.
template <class Ops, bool kAdd = false>
HWY_NOINLINE void WritePanelRow(const typename Ops::T* HWY_RESTRICT from, std::size_t panel,
                                typename Ops::T factor, const RowsView& head, std::int64_t i,
                                std::size_t cols,
                                [[maybe_unused]] const RowsView* before = nullptr) {
  using T = typename Ops::T;
  const Tag<T> d;
  const auto times = hn::Set(d, factor);
  void* base = const_cast<void*>(head.base);
  const std::int64_t at = head.At(i);
  const bool own = head.dtype == Ops::kElement,
             whole = head.col == 1 && InKernelWidth<T>(head.dtype);
  for (std::size_t c = 0; c < cols; c += kWidth<T>, from += panel) {
    const std::size_t n = std::min(kWidth<T>, cols - c);
    const std::int64_t to = at + static_cast<std::int64_t>(c) * head.col;
    Vec<T> x[2] = {hn::Zero(d), hn::Zero(d)};
    if constexpr (kAdd) LoadPanel<T>(*before, i, c, n, x);
    x[0] = hn::MulAdd(hn::Load(d, from), times, x[0]);
    x[1] = hn::MulAdd(hn::Load(d, from + kLanes<T>), times, x[1]);
    if (HWY_LIKELY(own)) {
      StoreSome<Ops>(x, n, base, to, head.col);
    } else if (whole && n == kWidth<T>) {
      StoreAs(d, x[0], head.dtype, base, to);
      StoreAs(d, x[1], head.dtype, base, to + static_cast<std::int64_t>(kLanes<T>));
    } else {
      HWY_ALIGN T some[kWidth<T>];
      hn::Store(x[0], d, some);
      hn::Store(x[1], d, some + kLanes<T>);
      for (std::size_t k = 0; k < n; ++k)
        StoreElement(some[k], head.dtype, base, to + static_cast<std::int64_t>(k) * head.col);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
