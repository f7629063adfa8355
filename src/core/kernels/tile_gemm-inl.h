// The inner product of every kernel: a tile of M rows by V vectors, summed over packed operands.

#if defined(REGARD_KERNELS_TILE_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TILE_GEMM_INL_H_
#undef REGARD_KERNELS_TILE_GEMM_INL_H_
#else
#define REGARD_KERNELS_TILE_GEMM_INL_H_
#endif

#include "core/kernels/acc-inl.h"
#include "core/kernels/operands-inl.h"
#include "core/kernels/results-inl.h"
#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// acc[r] += sum over c < inner of element c of row r * vector c of the columns, in the order of c. `inner` counts packed elements.
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void Accumulate(Rows<typename Ops::Packed> rows, Columns<typename Ops::Packed> columns, std::size_t inner, Acc<Ops, M, V>& acc) {
  using T = typename Ops::T;
  const typename Ops::Packed *HWY_RESTRICT a = rows.data, *HWY_RESTRICT b = columns.data;
#pragma GCC unroll 2
  for (std::size_t c = 0; c < inner; ++c, a += rows.step, b += columns.stride) {
    Vec<T> bv[V];
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

// Scores over many dims are summed in blocks of kScoreBlock, which are added up: a long sum rounds less in pieces.
inline constexpr std::size_t kScoreBlock = 128;

// All blocks but the first, into memory. A function of its own, so that the common loop keeps its registers.
template <class Ops, std::size_t M, std::size_t V>
HWY_NOINLINE void AccumulateRest(Rows<typename Ops::Packed> rows, Columns<typename Ops::Packed> lanes, std::size_t inner,
                                 typename Ops::T* HWY_RESTRICT sums) {
  constexpr std::size_t kBlock = kScoreBlock / Ops::kPair;
  for (std::size_t c = kBlock; c < inner; c += kBlock) {
    Acc<Ops, M, V> acc;
    ZeroAcc(acc);
    Accumulate<Ops, M, V>(rows.from(c), lanes.from(c), inner - c < kBlock ? inner - c : kBlock, acc);
    if (c > kBlock) AddAcc(sums, acc);
    StoreAcc(acc, sums);
  }
}

// Scores of M rows, whose elements lie side by side, and V vectors of lanes that are packed as [inner][kWidth].
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void AccumulateScores(Rows<typename Ops::Packed> rows, const typename Ops::Packed* HWY_RESTRICT lanes, std::size_t inner,
                                 Acc<Ops, M, V>& acc) {
  constexpr std::size_t kBlock = kScoreBlock / Ops::kPair;
  HWY_ALIGN typename Ops::T rest[M * kWidth<typename Ops::T>];
  const Columns<typename Ops::Packed> columns{lanes, kWidth<typename Ops::T>};
  const bool more = inner > kBlock;
  if (HWY_UNLIKELY(more)) AccumulateRest<Ops, M, V>(rows, columns, inner, rest);
  ZeroAcc(acc);
  Accumulate<Ops, M, V>({rows.data, rows.stride, 1}, columns, more ? kBlock : inner, acc);
  if (HWY_UNLIKELY(more)) AddAcc(rest, acc);
}

// Accumulate into a tile in memory, where the columns may hold NaN or infinity in what a row does not see. Rare, so it is small and not
// fast.
template <class Ops>
HWY_NOINLINE void AccumulateSelecting(Rows<typename Ops::Packed> rows, Columns<typename Ops::Packed> columns, std::size_t inner,
                                      std::size_t n, bool narrow, typename Ops::T* HWY_RESTRICT sums) {
  using T = typename Ops::T;
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t lane = 0; lane < (narrow ? kLanes<T> : kWidth<T>); lane += kLanes<T>) {
      T* HWY_RESTRICT sum = sums + r * kWidth<T> + lane;
      auto acc = hn::Load(Tag<T>(), sum);
      for (std::size_t c = 0; c < inner; ++c) {
        acc = Ops::MulAccSelecting(acc, rows.from(c).data[static_cast<std::int64_t>(r) * rows.stride], columns.from(c).data + lane);
      }
      hn::Store(acc, Tag<T>(), sum);
    }
  }
}

// Which of the packed elements that a product sums over there are, of the key groups of a sub-block or the query panels of a chunk: at most
// 108 rows in tiles of two or more.
struct Stretches {
  struct Stretch {
    std::size_t from, size;
  };
  Stretch list[108 / 2 / 2 + 1];
  std::size_t count = 0;

  void Add(std::size_t from, std::size_t size) {
    if (count != 0 && list[count - 1].from + list[count - 1].size == from) {
      list[count - 1].size += size;
    } else {
      list[count++] = {from, size};
    }
  }
};

// One sum from 0 goes through all stretches, so that a row's bits do not tell which gaps its neighbours leave.
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void AddTile(Rows<typename Ops::Packed> rows, Columns<typename Ops::Packed> columns, const Stretches& inner,
                        const TileEnd<typename Ops::T>& end) {
  Acc<Ops, M, V> acc;
  ZeroAcc(acc);
  for (std::size_t s = 0; s < inner.count; ++s) {
    const auto [from, size] = inner.list[s];
    Accumulate<Ops, M, V>(rows.from(from), columns.from(from), size, acc);
  }
  EndTile(acc, end);
}
// The same with strides that the compiler knows.
template <class Ops, std::size_t M, std::size_t V, std::int64_t kStride, std::int64_t kStep>
HWY_NOINLINE void AddTileOf(const typename Ops::Packed* rows, Columns<typename Ops::Packed> columns, const Stretches& inner,
                            const TileEnd<typename Ops::T>& end) {
  AddTile<Ops, M, V>({rows, kStride, kStep}, columns, inner, end);
}

// The product of `n` rows (kStride apart, their elements kStep apart) and columns, of which there is one vector only where `narrow`.
// `select`: the columns may hold NaN or infinity in what a row does not see.
template <class Ops, std::int64_t kStride, std::int64_t kStep>
HWY_INLINE void AddProduct(const typename Ops::Packed* rows, Columns<typename Ops::Packed> columns, const Stretches& inner, std::size_t n,
                           bool narrow, bool select, const TileEnd<typename Ops::T>& end) {
  using T = typename Ops::T;
  if (HWY_UNLIKELY(select)) {
    HWY_ALIGN T tile[kRows * kWidth<T>] = {};
    for (std::size_t s = 0; s < inner.count; ++s) {
      const auto [from, size] = inner.list[s];
      AccumulateSelecting<Ops>(Rows<typename Ops::Packed>{rows, kStride, kStep}.from(from), columns.from(from), size, n, narrow, tile);
    }
    EndRows<Ops>(tile, n, narrow, end);
  } else if (narrow) {
    REGARD_FOR_ROWS(n, (AddTileOf<Ops, M, 1, kStride, kStep>(rows, columns, inner, end)));
  } else {
    REGARD_FOR_ROWS(n, (AddTileOf<Ops, M, 2, kStride, kStep>(rows, columns, inner, end)));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
