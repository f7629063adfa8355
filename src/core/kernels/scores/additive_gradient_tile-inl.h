// SPDX-License-Identifier: Apache-2.0
// What pairs of rows with gradients dS add to the gradients of an additive score, from the rows'
// exponentials:
//
//   y = 1 / (1 + e^{2a} e^{2b})     tanh = 1 - 2y     d tanh = 1 - tanh^2 = 4 (y - y^2)
//
// Columns run along the vectors, so that nothing is summed across lanes; four reciprocals share one
// division.

#if defined(REGARD_KERNELS_ADDITIVE_GRADIENT_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_GRADIENT_TILE_INL_H_
#undef REGARD_KERNELS_ADDITIVE_GRADIENT_TILE_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_GRADIENT_TILE_INL_H_
#endif

#include <type_traits>

#include "core/kernels/scores/additive_exp-inl.h"
#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/streaming-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Rows of exponentials or sums by panels of kWidth columns: panel p of row i is at `data + p *
// panel_stride + i * step`. Packed panel by panel, or rows as they lie.
template <typename T>
struct PanelRows {
  T* data;
  std::size_t panel_stride;
  std::int64_t step = static_cast<std::int64_t>(kWidth<std::remove_const_t<T>>);
  PanelRows row(std::size_t i) const {
    return {data + static_cast<std::int64_t>(i) * step, panel_stride, step};
  }
};

// One query against `keys` keys whose dS are `d_score_stride` apart, in P panels of columns from
// panel `first` on (2 where there are two left): adds dS (y - y^2) to the query's and each key's
// sums, and dS y to v's. One key after another, whatever runs they come in: a query's bits do not
// tell which gaps its neighbours leave. kOnce: no other query comes to the keys. Then d_key is
// where their gradients go, and gets the products with `factors`, one a column.
template <typename T, std::size_t P, bool kOnce, Stores kStores = Stores::kCached>
HWY_NOINLINE void AddAdditiveGradients(PanelRows<const T> query, PanelRows<const T> key,
                                       const T* HWY_RESTRICT d_scores, std::size_t d_score_stride,
                                       std::size_t keys, std::size_t first, PanelRows<T> d_query,
                                       PanelRows<T> d_key, T* HWY_RESTRICT d_v,
                                       [[maybe_unused]] const T* HWY_RESTRICT factors) {
  const Tag<T> d;
  constexpr std::size_t V = 2 * P;
  const auto one = hn::Set(d, T{1}), most = hn::Set(d, AdditiveLimits<T>::kDenominator);
  std::size_t of_query[V], of_key[V], of_sum[V];
  T* to[V];
  Vec<T> a[V], of_a[V], of_v[V];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < V; ++i) {
    const std::size_t half = i % 2 * kLanes<T>;
    of_query[i] = (first + i / 2) * query.panel_stride + half;
    of_key[i] = (first + i / 2) * key.panel_stride + half;
    of_sum[i] = (first + i / 2) * d_key.panel_stride + half;
    a[i] = hn::LoadU(d, query.data + of_query[i]);
    to[i] = d_query.data + (first + i / 2) * d_query.panel_stride + half;
    of_a[i] = hn::Load(d, to[i]);
    of_v[i] = hn::Zero(d);
  }
  const T* HWY_RESTRICT b = key.data;
  T* HWY_RESTRICT of_b = d_key.data;
  for (std::size_t j = 0; j < keys;
       ++j, b += key.step, of_b += d_key.step, d_scores += d_score_stride) {
    const auto ds = hn::Set(d, *d_scores);
    Vec<T> x[V], y[V];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < V; ++i)
      x[i] = hn::Min(most, hn::MulAdd(a[i], hn::LoadU(d, b + of_key[i]), one));
    const auto x01 = hn::Mul(x[0], x[1]);
    if constexpr (P == 2) {
      const auto x23 = hn::Mul(x[2], x[3]);
      const auto inverse = hn::Div(one, hn::Mul(x01, x23));
      const auto inverse01 = hn::Mul(inverse, x23), inverse23 = hn::Mul(inverse, x01);
      y[0] = hn::Mul(inverse01, x[1]), y[1] = hn::Mul(inverse01, x[0]);
      y[2] = hn::Mul(inverse23, x[3]), y[3] = hn::Mul(inverse23, x[2]);
    } else {
      const auto inverse = hn::Div(one, x01);
      y[0] = hn::Mul(inverse, x[1]), y[1] = hn::Mul(inverse, x[0]);
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < V; ++i) {
      const auto weighted = hn::Mul(ds, y[i]);
      const auto slope = hn::NegMulAdd(weighted, y[i], weighted);
      of_v[i] = hn::Add(of_v[i], weighted);
      of_a[i] = hn::Add(of_a[i], slope);
      if constexpr (kOnce) {
        // Never -0, as in AdditiveGradient::WriteKeys.
        const auto factor = hn::Load(d, factors + (first + i / 2) * kWidth<T> + i % 2 * kLanes<T>);
        StoreWith<kStores, T>(hn::MulAdd(slope, factor, hn::Zero(d)), of_b + of_sum[i]);
      } else {
        hn::Store(hn::Add(hn::Load(d, of_b + of_sum[i]), slope), d, of_b + of_sum[i]);
      }
    }
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < V; ++i) {
    hn::Store(of_a[i], d, to[i]);
    T* HWY_RESTRICT to_v = d_v + (first + i / 2) * kWidth<T> + i % 2 * kLanes<T>;
    hn::Store(hn::Add(hn::Load(d, to_v), of_v[i]), d, to_v);
  }
}

// The same for one pair, from a + b itself.
template <typename T>
HWY_NOINLINE void AddAdditivePairGradient(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b,
                                          std::size_t dim, T d_score, PanelRows<T> d_query,
                                          PanelRows<T> d_key, T* HWY_RESTRICT d_v) {
  const Tag<T> d;
  const auto ds = hn::Set(d, d_score), one = hn::Set(d, T{1}), half = hn::Set(d, T{0.5});
  for (std::size_t c = 0; c < dim; c += kLanes<T>) {
    const auto t = Tanh<T>(hn::Add(hn::LoadU(d, a + c), hn::LoadU(d, b + c)));
    const auto y = hn::Mul(half, hn::Sub(one, t));
    const auto slope = hn::Mul(ds, hn::Mul(y, hn::Mul(half, hn::Add(one, t))));
    const std::size_t panel = c / kWidth<T>, in = c % kWidth<T>;
    T* HWY_RESTRICT to_query = d_query.data + panel * d_query.panel_stride + in;
    T* HWY_RESTRICT to_key = d_key.data + panel * d_key.panel_stride + in;
    hn::Store(hn::Add(hn::Load(d, to_query), slope), d, to_query);
    hn::Store(hn::Add(hn::Load(d, to_key), slope), d, to_key);
    hn::Store(hn::MulAdd(ds, y, hn::Load(d, d_v + c)), d, d_v + c);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
