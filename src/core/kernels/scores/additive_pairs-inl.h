// SPDX-License-Identifier: Apache-2.0
// Additive scores pair by pair, from rows as they lie: columns run along the vectors, and nothing
// is transposed. For sequences with few queries (an RNN decoder's step), where every key's row is
// read about once.

#if defined(REGARD_KERNELS_ADDITIVE_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_PAIRS_INL_H_
#undef REGARD_KERNELS_ADDITIVE_PAIRS_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_PAIRS_INL_H_
#endif

#include "core/kernels/scores/additive_tile-inl.h"
#include "core/kernels/tile/operands-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The sum over `cols` columns, whole vectors, of v / (1 + a b), a partial sum a lane.
template <typename T>
HWY_INLINE Vec<T> SumOfPair(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b,
                            const T* HWY_RESTRICT v, std::size_t cols) {
  const Tag<T> d;
  constexpr std::size_t kFour = 4 * kLanes<T>;
  auto sum = hn::Zero(d);
  std::size_t c = 0;
  for (; c + kFour <= cols; c += kFour) {
    Vec<T> x[4], y[4], of_v[4];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
      x[k] = hn::LoadU(d, a + c + k * kLanes<T>);
      y[k] = hn::LoadU(d, b + c + k * kLanes<T>);
      of_v[k] = hn::LoadU(d, v + c + k * kLanes<T>);
    }
    sum = hn::Add(sum, FourQuotients<T>(x, y, of_v));
  }
  for (; c < cols; c += kLanes<T>) {
    const auto x = hn::MulAdd(hn::LoadU(d, a + c), hn::LoadU(d, b + c), hn::Set(d, T{1}));
    sum = hn::Add(
        sum, hn::Div(hn::LoadU(d, v + c), hn::Min(hn::Set(d, AdditiveLimits<T>::kDenominator), x)));
  }
  return sum;
}

// scores[r][lane] of `n` rows and `lanes` lanes, both rows of `cols` columns in whole vectors. A
// pair has the same bits whichever of the two is called the row.
template <typename T>
HWY_NOINLINE void AdditivePairs(Rows<T> rows, std::size_t n, Rows<T> of_lanes, std::size_t lanes,
                                std::size_t cols, const AdditiveVector<T>& v,
                                T* HWY_RESTRICT scores) {
  const Tag<T> d;
  for (std::size_t r = 0; r < n; ++r) {
    const T* row = rows.row(static_cast<std::int64_t>(r)).data;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const auto sum =
          SumOfPair(row, of_lanes.row(static_cast<std::int64_t>(lane)).data, v.v, cols);
      scores[r * kWidth<T> + lane] = (v.sum - T{2} * hn::GetLane(hn::SumOfLanes(d, sum))) * v.unit;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
