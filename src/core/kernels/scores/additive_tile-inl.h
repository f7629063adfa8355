// SPDX-License-Identifier: Apache-2.0
// A tile of additive scores, unit * sum over c of v_c tanh(a_c + b_c), from the rows' exponentials.
//
//   tanh(a + b) = 1 - 2 / x,  x = 1 + e^{2a} e^{2b}          v0 / x0 + v1 / x1 = (v0 x1 + v1 x0) /
//   (x0 x1), and so for four terms
//
// One multiply-add a term, and one division for four.

#if defined(REGARD_KERNELS_ADDITIVE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_TILE_INL_H_
#undef REGARD_KERNELS_ADDITIVE_TILE_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_TILE_INL_H_
#endif

#include <algorithm>

#include "core/kernels/kernels.h"
#include "core/kernels/scores/additive_exp-inl.h"
#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The learned vector of one head: see AdditiveVectors in kernels.h.
template <typename T>
struct AdditiveVector {
  const T* v;         // [inner], no element above 1
  std::size_t inner;  // dim, rounded up to whole quads
  T sum, unit;

  AdditiveVector(const AdditiveVectors& all, std::int64_t batch, std::int64_t head)
      : v(static_cast<const T*>(all.v) + all.index(batch, head) * all.stride),
        inner(all.inner),
        sum(static_cast<T>(all.vectors[all.index(batch, head)].sum)),
        unit(static_cast<T>(all.vectors[all.index(batch, head)].unit)) {}
};

// The sum of four quotients v / (1 + a b).
template <typename T>
HWY_INLINE Vec<T> FourQuotients(const Vec<T>* a, const Vec<T>* b, const Vec<T>* v) {
  const Tag<T> d;
  const auto one = hn::Set(d, T{1}), most = hn::Set(d, AdditiveLimits<T>::kDenominator);
  const auto x0 = hn::Min(most, hn::MulAdd(a[0], b[0], one)),
             x1 = hn::Min(most, hn::MulAdd(a[1], b[1], one));
  const auto x2 = hn::Min(most, hn::MulAdd(a[2], b[2], one)),
             x3 = hn::Min(most, hn::MulAdd(a[3], b[3], one));
  const auto n01 = hn::MulAdd(v[0], x1, hn::Mul(v[1], x0));
  const auto n23 = hn::MulAdd(v[2], x3, hn::Mul(v[3], x2));
  const auto d01 = hn::Mul(x0, x1), d23 = hn::Mul(x2, x3);
  return hn::Div(hn::MulAdd(n01, d23, hn::Mul(n23, d01)), hn::Mul(d01, d23));
}

// Columns [0, n) of one broadcast row against V vectors of lanes; a is `a_step` apart from column
// to column, b `b_step`.
template <typename T, std::size_t V, bool kAligned>
HWY_INLINE void SumQuotients(const T* HWY_RESTRICT a, std::size_t a_step, const T* HWY_RESTRICT b,
                             std::size_t b_step, const T* HWY_RESTRICT v, std::size_t n,
                             Vec<T>* sums) {
  const Tag<T> d;
  for (std::size_t i = 0; i < V; ++i) sums[i] = hn::Zero(d);
  for (std::size_t c = 0; c < n; c += 4, a += 4 * a_step, b += 4 * b_step) {
    Vec<T> row[4], of_v[4];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
      row[k] = hn::Set(d, a[k * a_step]);
      of_v[k] = hn::Set(d, v[c + k]);
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < V; ++i) {
      Vec<T> lanes[4];
#pragma GCC unroll 4
      for (std::size_t k = 0; k < 4; ++k) {
        const T* at = b + k * b_step + i * kLanes<T>;
        lanes[k] = kAligned ? hn::Load(d, at) : hn::LoadU(d, at);
      }
      sums[i] = hn::Add(sums[i], FourQuotients<T>(row, lanes, of_v));
    }
  }
}

template <typename T>
HWY_INLINE Vec<T> ScoreOfQuotients(Vec<T> sum, const AdditiveVector<T>& v) {
  const Tag<T> d;
  return hn::Mul(hn::NegMulAdd(hn::Set(d, T{2}), sum, hn::Set(d, v.sum)), hn::Set(d, v.unit));
}

// scores[r][lane] for `n` rows packed as [inner][kRows] against the lanes of a panel packed as
// [inner][kWidth].
template <typename T>
HWY_NOINLINE void AdditiveTile(const T* HWY_RESTRICT rows, const T* HWY_RESTRICT lanes,
                               std::size_t n, const AdditiveVector<T>& v, T* HWY_RESTRICT scores) {
  const Tag<T> d;
  for (std::size_t c = 0; c < v.inner; c += kAdditiveBlock) {
    const std::size_t columns = std::min(kAdditiveBlock, v.inner - c);
    for (std::size_t r = 0; r < n; ++r) {
      Vec<T> sums[2];
      SumQuotients<T, 2, true>(rows + c * kRows + r, kRows, lanes + c * kWidth<T>, kWidth<T>,
                               v.v + c, columns, sums);
      for (std::size_t i = 0; i < 2; ++i) {
        T* HWY_RESTRICT at = scores + r * kWidth<T> + i * kLanes<T>;
        hn::Store(c == 0 ? sums[i] : hn::Add(hn::Load(d, at), sums[i]), d, at);
      }
    }
  }
  for (std::size_t i = 0; i < n * kWidth<T>; i += kLanes<T>)
    hn::Store(ScoreOfQuotients(hn::Load(d, scores + i), v), d, scores + i);
}

// The same scores where few lanes are in use (the last queries of a chunk, in the backward pass):
// the kRows rows become the lanes, and `n` lanes of the panel are broadcast one after another. Each
// pair goes through the same operations as above.
template <typename T>
HWY_NOINLINE void AdditiveTileOfFewLanes(const T* HWY_RESTRICT rows, const T* HWY_RESTRICT lanes,
                                         std::size_t n, const AdditiveVector<T>& v,
                                         T* HWY_RESTRICT scores) {
  const Tag<T> d;
  constexpr std::size_t kVectors = (kRows + kLanes<T> - 1) / kLanes<T>;
  for (std::size_t lane = 0; lane < n; ++lane) {
    HWY_ALIGN T column[kVectors * kLanes<T>] = {};
    for (std::size_t c = 0; c < v.inner; c += kAdditiveBlock) {
      Vec<T> sums[kVectors];
      SumQuotients<T, kVectors, false>(lanes + c * kWidth<T> + lane, kWidth<T>, rows + c * kRows,
                                       kRows, v.v + c, std::min(kAdditiveBlock, v.inner - c), sums);
      for (std::size_t i = 0; i < kVectors; ++i) {
        T* HWY_RESTRICT at = column + i * kLanes<T>;
        hn::Store(c == 0 ? sums[i] : hn::Add(hn::Load(d, at), sums[i]), d, at);
      }
    }
    for (std::size_t i = 0; i < kVectors; ++i) {
      T* HWY_RESTRICT at = column + i * kLanes<T>;
      hn::Store(ScoreOfQuotients(hn::Load(d, at), v), d, at);
    }
    for (std::size_t r = 0; r < kRows; ++r) scores[r * kWidth<T> + lane] = column[r];
  }
}

// Whether the lane-wise tile above costs more than the other one.
template <typename T>
inline bool FewLanes(std::size_t lanes) {
  return lanes * ((kRows + kLanes<T> - 1) / kLanes<T>) < 2 * kRows;
}

// A row as it was handed in, with zeros up to the next whole vector; `to` has room for it.
template <typename T>
HWY_INLINE void CopyPlainRow(const RowsView& head, std::int64_t row, std::size_t dim,
                             T* HWY_RESTRICT to) {
  CopyRow(head, row, dim, to);
  for (std::size_t c = dim; c % kLanes<T> != 0; ++c) to[c] = T{0};
}

// One score from a + b itself. The sum runs along the columns: `v` has zeros up to whole vectors.
template <typename T>
HWY_NOINLINE T AdditivePair(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, std::size_t dim,
                            const AdditiveVector<T>& v) {
  const Tag<T> d;
  auto sum = hn::Zero(d);
  for (std::size_t c = 0; c < dim; c += kLanes<T>) {
    const auto t = Tanh<T>(hn::Add(hn::LoadU(d, a + c), hn::LoadU(d, b + c)));
    // In the order of columns of one lane; a lane's sum is short.
    sum = hn::MulAdd(hn::LoadU(d, v.v + c), t, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum)) * v.unit;
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
