// SPDX-License-Identifier: Apache-2.0
// The inner product of every kernel: a tile of M rows by V vectors, summed over packed operands.

#if defined(REGARD_KERNELS_TILE_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TILE_GEMM_INL_H_
#undef REGARD_KERNELS_TILE_GEMM_INL_H_
#else
#define REGARD_KERNELS_TILE_GEMM_INL_H_
#endif

#include <algorithm>

#include "core/kernels/tile/acc-inl.h"
#include "core/kernels/tile/operands-inl.h"
#include "core/kernels/tile/results-inl.h"
#include "core/kernels/tile/simd-inl.h"
#include "core/kernels/tiling.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// acc[r] += sum over c < inner of element c of row r * vector c of the columns, in the order of c.
// `inner` counts packed elements.
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void Accumulate(Rows<typename Ops::Packed> rows, Columns<typename Ops::Packed> columns,
                           std::size_t inner, Acc<Ops, M, V>& acc) {
  using T = typename Ops::T;
  const typename Ops::Packed *HWY_RESTRICT a = rows.data, *HWY_RESTRICT b = columns.data;
  // Ends by address, which takes a register less than counting; by that of the rows, since columns
  // read where they lie may all be one.
#pragma GCC unroll 2
  for (const auto* end = rows.from(inner).data; a != end; a += rows.step, b += columns.stride) {
    hn::Vec<typename Ops::D> bv[V];
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v) bv[v] = Ops::LoadPacked(b + v * kLanes<T>);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < M; ++r) {
      const auto x = Ops::Broadcast(a + static_cast<std::int64_t>(r) * rows.stride);
#pragma GCC unroll 2
      for (std::size_t v = 0; v < V; ++v) acc.v[r][v] = Ops::MulAcc(acc.v[r][v], x, bv[v]);
    }
  }
}

// acc = the sum over all parts, which part(i) names, and the tile `before`, where that is given:
// added at the end, or, by a matrix unit, what the sum begins with.
template <class Ops, std::size_t M, std::size_t V, class PartAt>
HWY_INLINE void SumParts(std::size_t count, const PartAt& part, const typename Ops::T* before,
                         Acc<Ops, M, V>& acc) {
  if constexpr (Ops::kMatrixUnit) {
    Ops::template SumParts<V>(count, part, before, reinterpret_cast<typename Ops::T*>(acc.v),
                              V * kLanes<typename Ops::T>);
  } else {
    ZeroAcc(acc);
    for (std::size_t i = 0; i < count; ++i) {
      const ProductPart<typename Ops::Packed> p = part(i);
      Accumulate<Ops, M, V>(p.rows, p.columns, p.inner, acc);
    }
    if (before != nullptr) AddAcc(before, acc);
  }
}
// The same straight to a tile in memory, which may be `before`.
template <class Ops, std::size_t M, std::size_t V, class PartAt>
HWY_INLINE void SumPartsInto(std::size_t count, const PartAt& part, const typename Ops::T* before,
                             typename Ops::T* tile) {
  if constexpr (Ops::kMatrixUnit) {
    Ops::template SumParts<V>(count, part, before, tile, kWidth<typename Ops::T>);
  } else {
    Acc<Ops, M, V> acc;
    SumParts(count, part, before, acc);
    StoreAcc(acc, tile);
  }
}
template <class Packed>
struct OnePart {
  ProductPart<Packed> part;
  HWY_INLINE ProductPart<Packed> operator()(std::size_t /*i*/) const { return part; }
};

// Scores over more than kScoreBlock dims are summed block by block.

// All blocks but the first, into memory. A function of its own, so that the common loop keeps its
// registers.
template <class Ops, std::size_t M, std::size_t V>
HWY_NOINLINE void AccumulateRest(Rows<typename Ops::Packed> rows,
                                 Columns<typename Ops::Packed> lanes, std::size_t inner,
                                 typename Ops::T* HWY_RESTRICT sums) {
  constexpr std::size_t kBlock = kScoreBlock / Ops::kPair;
  for (std::size_t c = kBlock; c < inner; c += kBlock) {
    Acc<Ops, M, V> acc;
    ZeroAcc(acc);
    Accumulate<Ops, M, V>(rows.from(c), lanes.from(c), inner - c < kBlock ? inner - c : kBlock,
                          acc);
    if (c > kBlock) AddAcc(sums, acc);
    StoreAcc(acc, sums);
  }
}

// Scores of M rows, whose elements lie side by side, and V vectors of lanes that are packed as
// [inner][kWidth].
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void AccumulateScores(Rows<typename Ops::Packed> rows,
                                 const typename Ops::Packed* HWY_RESTRICT lanes, std::size_t inner,
                                 Acc<Ops, M, V>& acc) {
  const Columns<typename Ops::Packed> columns{lanes, kWidth<typename Ops::T>};
  if constexpr (Ops::kMatrixUnit) {
    SumParts(1, OnePart<typename Ops::Packed>{{rows, columns, inner}}, nullptr, acc);
    return;
  }
  constexpr std::size_t kBlock = kScoreBlock / Ops::kPair;
  HWY_ALIGN typename Ops::T rest[M * kWidth<typename Ops::T>];
  const bool more = inner > kBlock;
  if (HWY_UNLIKELY(more)) AccumulateRest<Ops, M, V>(rows, columns, inner, rest);
  ZeroAcc(acc);
  Accumulate<Ops, M, V>({rows.data, rows.stride, 1}, columns, more ? kBlock : inner, acc);
  if (HWY_UNLIKELY(more)) AddAcc(rest, acc);
}

// Accumulate into a tile in memory, where the columns may hold NaN or infinity in what a row does
// not see. Rare, so it is small and not fast.
template <class Ops>
HWY_NOINLINE void AccumulateSelecting(Rows<typename Ops::Packed> rows,
                                      Columns<typename Ops::Packed> columns, std::size_t inner,
                                      std::size_t n, bool narrow,
                                      typename Ops::T* HWY_RESTRICT sums) {
  using T = typename Ops::T;
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t lane = 0; lane < (narrow ? kLanes<T> : kWidth<T>); lane += kLanes<T>) {
      T* HWY_RESTRICT sum = sums + r * kWidth<T> + lane;
      auto acc = hn::Load(Tag<T>(), sum);
      for (std::size_t c = 0; c < inner; ++c) {
        acc =
            Ops::MulAccSelecting(acc, rows.from(c).data[static_cast<std::int64_t>(r) * rows.stride],
                                 columns.from(c).data + lane);
      }
      hn::Store(acc, Tag<T>(), sum);
    }
  }
}

// The product of parts where columns may hold NaN or infinity in what a row does not see. A matrix
// unit sums on top of what is there.
template <class Ops, class PartAt>
HWY_INLINE void AddSelecting(std::size_t count, const PartAt& part, std::size_t n, bool narrow,
                             const TileEnd<typename Ops::T>& end) {
  using T = typename Ops::T;
  HWY_ALIGN T tile[kRows * kWidth<T>] = {};
  TileEnd<T> rest = end;
  if constexpr (Ops::kMatrixUnit) {
    if (end.add) std::copy_n(end.sums, kRows * kWidth<T>, tile);
    rest.add = false;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const ProductPart<typename Ops::Packed> p = part(i);
    if constexpr (Ops::kMatrixUnit) {
      Ops::AddSelecting(p, n, narrow, tile);
    } else {
      AccumulateSelecting<Ops>(p.rows, p.columns, p.inner, n, narrow, tile);
    }
  }
  EndRows<Ops>(tile, n, narrow, rest);
}

// Which of the packed elements that a product sums over there are: of the queries of a chunk in the
// backward pass, at most one run in each panel; or of the key groups of a sub-block of at most
// kMostSubKeys, where neighbours are one run.
struct Runs {
  static constexpr std::size_t kMost = std::max(
      static_cast<std::size_t>(kQueryChunk) / kWidth<double>, (kMostSubKeys / kRows + 1) / 2);
  // Two lists: what is stored as two numbers and then read as one, the processor waits for.
  std::size_t from[kMost], size[kMost];
  std::size_t count = 0;

  void Add(std::size_t first, std::size_t elements) {
    if (count != 0 && from[count - 1] + size[count - 1] == first) {
      size[count - 1] += elements;
    } else {
      from[count] = first;
      size[count++] = elements;
    }
  }
};

template <class Packed>
struct PartOfRun {
  Rows<Packed> rows;
  Columns<Packed> columns;
  const Runs& runs;
  HWY_INLINE ProductPart<Packed> operator()(std::size_t i) const {
    const std::size_t from = runs.from[i];
    return {rows.from(from), columns.from(from), runs.size[i]};
  }
};

// One sum goes through all runs, so that a row's bits do not tell which gaps its neighbours
// leave.
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void AddTile(Rows<typename Ops::Packed> rows, Columns<typename Ops::Packed> columns,
                        const Runs& inner, const TileEnd<typename Ops::T>& end) {
  const PartOfRun<typename Ops::Packed> part{rows, columns, inner};
  const typename Ops::T* before = end.add ? end.sums : nullptr;
  if (Ops::kMatrixUnit && end.rows == 0) {
    SumPartsInto<Ops, M, V>(inner.count, part, before, end.sums);
    return;
  }
  Acc<Ops, M, V> acc;
  SumParts(inner.count, part, before, acc);
  EndTile(acc, end);
}
// The same with strides that the compiler knows.
template <class Ops, std::size_t M, std::size_t V, std::int64_t kStride, std::int64_t kStep>
HWY_NOINLINE void AddTileOf(const typename Ops::Packed* rows, Columns<typename Ops::Packed> columns,
                            const Runs& inner, const TileEnd<typename Ops::T>& end) {
  AddTile<Ops, M, V>({rows, kStride, kStep}, columns, inner, end);
}

// How many lanes of a panel of columns a product fills.
enum class Filled : std::uint8_t { kTwo, kOne, kHalf };
template <class Ops>
HWY_INLINE Filled FilledBy(std::size_t columns) {
  constexpr std::size_t kLanesOf = kLanes<typename Ops::T>;
  if (columns > kLanesOf) return Filled::kTwo;
  return columns <= hn::MaxLanes(typename Ops::Half::D()) &&
                 hn::MaxLanes(typename Ops::Half::D()) < kLanesOf
             ? Filled::kHalf
             : Filled::kOne;
}

// The product of `n` rows (kStride apart, their elements kStep apart) and a panel of columns, of
// which `filled` are there. `select`: the columns may hold NaN or infinity in what a row does not
// see.
template <class Ops, std::int64_t kStride, std::int64_t kStep>
HWY_INLINE void AddProduct(const typename Ops::Packed* rows, Columns<typename Ops::Packed> columns,
                           const Runs& inner, std::size_t n, Filled filled, bool select,
                           const TileEnd<typename Ops::T>& end) {
  if (HWY_UNLIKELY(select)) {
    const PartOfRun<typename Ops::Packed> part{{rows, kStride, kStep}, columns, inner};
    AddSelecting<Ops>(inner.count, part, n, filled != Filled::kTwo, end);
  } else if (filled == Filled::kHalf) {
    REGARD_FOR_ROWS(
        n, (AddTileOf<typename Ops::Half, M, 1, kStride, kStep>(rows, columns, inner, end)));
  } else if (filled == Filled::kOne) {
    REGARD_FOR_ROWS(n, (AddTileOf<Ops, M, 1, kStride, kStep>(rows, columns, inner, end)));
  } else {
    REGARD_FOR_ROWS(n, (AddTileOf<Ops, M, 2, kStride, kStep>(rows, columns, inner, end)));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
