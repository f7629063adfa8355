// SPDX-License-Identifier: Apache-2.0
// The statistics of a chunk's rows, as the backward pass reads them: maxima, 1 / sum of
// exponentials and dlse - delta.

#if defined(REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#undef REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "core/kernels/backward/backward_tile-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where they lie, and what dlse - delta comes from; `d_lse` may have no base.
struct ReadStatistics {
  RowsView log_sum, out, d_out, d_lse;
};

// from[i] -= the sum over c of a[c][i] * b[c][i], of kWidth lanes, in the order in which
// AccumulateScores sums: where a row of b is one that it multiplies, both have the same bits.
template <class Ops>
HWY_NOINLINE void SubtractLaneProducts(const typename Ops::Packed* HWY_RESTRICT a,
                                       const typename Ops::Packed* HWY_RESTRICT b,
                                       std::size_t inner, typename Ops::T* HWY_RESTRICT from) {
  using T = typename Ops::T;
  const Tag<T> d;
  constexpr std::size_t kBlock = kScoreBlock / Ops::kPair;
  // Set below before they are read, which compilers cannot see.
  Vec<T> first[2] = {hn::Zero(d), hn::Zero(d)}, rest[2] = {hn::Zero(d), hn::Zero(d)};
  for (std::size_t begin = 0; begin < inner; begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, inner);
    Vec<T> sum[2] = {hn::Zero(d), hn::Zero(d)};
    for (std::size_t at = begin * kWidth<T>; at < end * kWidth<T>; at += kWidth<T>) {
#pragma GCC unroll 2
      for (std::size_t v = 0; v < 2; ++v) {
        sum[v] = Ops::MulAcc(sum[v], Ops::LoadPacked(a + at + v * kLanes<T>),
                             Ops::LoadPacked(b + at + v * kLanes<T>));
      }
    }
#pragma GCC unroll 2
    for (std::size_t v = 0; v < 2; ++v) {
      if (begin == 0) first[v] = sum[v];
      if (begin != 0) rest[v] = begin == kBlock ? sum[v] : hn::Add(sum[v], rest[v]);
    }
  }
#pragma GCC unroll 2
  for (std::size_t v = 0; v < 2; ++v) {
    const auto sum = inner > kBlock ? hn::Add(first[v], rest[v]) : first[v];
    T* HWY_RESTRICT at = from + v * kLanes<T>;
    hn::Store(hn::Sub(hn::Load(d, at), sum), d, at);
  }
}

// Of a chunk's rows in the backward pass.
template <class Ops>
class BackwardStatistics {
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;

 public:
  void Take(Carve& carve, std::size_t queries, std::size_t inner_v) {
    queries_ = queries;
    inner_v_ = inner_v;
    maximum_ = carve.Take<T>(queries);
    least_ = carve.Take<T>(queries);
    magic_ = carve.Take<T>(queries);
    factor_ = carve.Take<T>(queries);
    shift_ = carve.Take<T>(queries);
    outs_ = carve.Take<Packed>(std::max(kWidth<T> * inner_v, kRows * RowStride(inner_v)));
  }

  // Prefetches those of rows [first, end), which mostly lie side by side.
  static void Prefetch(const RowsView& maximum, const RowsView& log_sum, std::int64_t first,
                       std::int64_t end) {
    for (std::int64_t i = first; i < end; i += 64 / sizeof(T)) {
      PrefetchRow<false>(maximum, i, 1);
      PrefetchRow<false>(log_sum, i, 1);
    }
  }
  // Of all `n` rows of a chunk, from row of the sequence `first` on.
  void ReadMaxima(const RowsView& maximum, std::int64_t first, std::size_t n) {
    some_row_is_dead_ = false;
    Clear(maximum_, queries_);
    for (std::size_t i = 0; i < n; ++i) {
      maximum_[i] =
          static_cast<const T*>(maximum.base)[maximum.At(first + static_cast<std::int64_t>(i))];
      some_row_is_dead_ |= maximum_[i] == -std::numeric_limits<T>::infinity();
    }
  }
  // A row that sees no key has no maximum and no gradient. The maxima, where there are such rows;
  // else null.
  const T* dead_rows() const { return some_row_is_dead_ ? maximum_ : nullptr; }

  // The rest, of rows [at, at + n) of the chunk; `first` is the chunk's first row of the sequence.
  // `d_outs`: the gradients of their outputs as tiles read them, as lanes, or, where tiles take
  // products pair by pair (`pairs`), as rows.
  void Read(const ReadStatistics& heads, std::int64_t first, std::size_t at, std::size_t n,
            std::size_t dim_v, const RowBuffers<T>& buffers, const Packed* d_outs, bool pairs) {
    Clear(factor_ + at, kWidth<T>);
    Clear(shift_ + at, kWidth<T>);
    first += static_cast<std::int64_t>(at);
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t r = first + static_cast<std::int64_t>(i);
      factor_[at + i] = static_cast<const T*>(heads.log_sum.base)[heads.log_sum.At(r)];
      if (heads.d_lse.base != nullptr)
        shift_[at + i] = static_cast<const T*>(heads.d_lse.base)[heads.d_lse.At(r)];
    }
    SplitSums(at, n);
    PrefetchRows(heads.out, first, static_cast<std::int64_t>(n), dim_v);
    SubtractDeltas(heads, first, n, dim_v, buffers, d_outs, pairs, shift_ + at);
  }

  QueryLanes<T> lanes(std::size_t first) const {
    return {maximum_ + first, least_ + first, magic_ + first, factor_ + first, shift_ + first};
  }

 private:
  // Logarithms of sums -> what divides by the sums.
  void SplitSums(std::size_t at, std::size_t n) {
    const Tag<T> d;
    if constexpr (sizeof(T) == 8) {
      for (std::size_t i = at; i < at + kWidth<T>; i += kLanes<T>) {
        const auto least = hn::Set(d, ExpEndOf<T>(0).least);
        hn::Store(hn::Add(hn::Load(d, factor_ + i), least), d, least_ + i);
        hn::Store(hn::Zero(d), d, magic_ + i);
      }
    }
    ExpOfNegated(factor_ + at, n);  // the forward pass divided by the sum itself
    if constexpr (sizeof(T) == 4) {
      const hn::RebindToSigned<Tag<T>> di;
      for (std::size_t i = at; i < at + kWidth<T>; i += kLanes<T>) {
        const auto inverse = hn::Load(d, factor_ + i);
        // Sums are at least about 1. NaN and infinity have the greatest exponent, 0 the least.
        auto power = hn::Sub(hn::ShiftRight<23>(hn::BitCast(di, inverse)), hn::Set(di, 127));
        power = hn::Max(hn::Min(power, hn::Zero(di)), hn::Set(di, -100));
        const auto shift = hn::ConvertTo(d, power);
        const ExpEnd<Vec<T>> end = NoShift<T>();
        hn::Store(hn::NegMulAdd(shift, hn::Set(d, T{0.693147180559945}), end.least), d, least_ + i);
        hn::Store(hn::Add(end.magic, shift), d, magic_ + i);
        const auto unit =
            hn::BitCast(d, hn::ShiftLeft<23>(hn::Sub(hn::Set(di, 127), power)));  // 2^-power
        hn::Store(hn::Mul(inverse, unit), d, factor_ + i);
      }
    }
  }

  // delta = rowsum(dO * O), in the arithmetic that makes dP = dO V^T of tiles: where all weight of
  // a row lies on one key, O is its value, delta and dP have the same bits, and dS = P (dP - delta)
  // is 0.
  void SubtractDeltas(const ReadStatistics& heads, std::int64_t first, std::size_t n,
                      std::size_t dim_v, const RowBuffers<T>& buffers, const Packed* d_outs,
                      bool pairs, T* HWY_RESTRICT from) {
    if constexpr (Ops::kPair > 1) {
      // Partial results hold float, and are multiplied as float.
      if (heads.out.dtype != Ops::kElement)
        return SubtractRowProducts(heads.out, heads.d_out, first, n, dim_v, buffers, from);
    }
    if constexpr (Ops::kMatrixUnit) {
      SubtractDiagonals(heads.out, first, n, dim_v, buffers, d_outs, from);
    } else {
      if (pairs) return SubtractRowProducts(heads.out, heads.d_out, first, n, dim_v, buffers, from);
      Ops::PackLanesOf(heads.out, first, n, dim_v, T{1}, buffers, outs_);
      SubtractLaneProducts<Ops>(outs_, d_outs, inner_v_, from);
    }
  }

  // Of tiles of out and d_outs, as a matrix unit makes them.
  void SubtractDiagonals(const RowsView& out, std::int64_t first, std::size_t n, std::size_t dim_v,
                         const RowBuffers<T>& buffers, const Packed* d_outs, T* HWY_RESTRICT from) {
    HWY_ALIGN T tile[kRows * kWidth<T>];
    for (std::size_t begin = 0; begin < n; begin += kRows) {
      const std::size_t count = std::min(kRows, n - begin);
      const Rows<Packed> rows = Ops::RowsOf(out, first + static_cast<std::int64_t>(begin), count,
                                            dim_v, T{1}, buffers, outs_, RowStride(inner_v_), true);
      const Columns<Packed> columns{d_outs, static_cast<std::int64_t>(kWidth<T>)};
      SumPartsInto<Ops, kRows, 2>(1, OnePart<Packed>{{rows, columns, inner_v_}}, nullptr, tile);
      for (std::size_t r = 0; r < count; ++r) from[begin + r] -= tile[r * kWidth<T> + begin + r];
    }
  }

  // from[i] -= the inner product of rows first + i of two heads, as RowProducts() makes it.
  static void SubtractRowProducts(const RowsView& x, const RowsView& y, std::int64_t first,
                                  std::size_t n, std::size_t cols, const RowBuffers<T>& buffers,
                                  T* HWY_RESTRICT from) {
    HWY_ALIGN T product[kWidth<T>];
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t row = first + static_cast<std::int64_t>(i);
      const Rows<T> left{RowInVectors(x, row, cols, buffers.copies), 0},
          right{RowInVectors(y, row, cols, buffers.copies + buffers.stride), 0};
      RowProducts(left, 1, right, 1, cols, product);
      from[i] -= product[0];
    }
  }

  std::size_t queries_ = 0, inner_v_ = 0;
  T *maximum_ = nullptr, *least_ = nullptr, *magic_ = nullptr, *factor_ = nullptr,
    *shift_ = nullptr;
  Packed* outs_ = nullptr;
  bool some_row_is_dead_ = false;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
