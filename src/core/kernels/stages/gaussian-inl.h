// SPDX-License-Identifier: Apache-2.0
// weight <- weight * a Gaussian round a centre, after the softmax, and the gradient of the centre.

#if defined(REGARD_KERNELS_GAUSSIAN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_GAUSSIAN_INL_H_
#undef REGARD_KERNELS_GAUSSIAN_INL_H_
#else
#define REGARD_KERNELS_GAUSSIAN_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/stages/tile_tensor-inl.h"
#include "core/kernels/tile/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Calls f(offset in the tile, exp(-(j - centre)^2 / (2 sigma^2)), j - centre) for every vector of a
// tile.
template <typename T, class F>
HWY_INLINE void EachGaussian(const Gaussian& gaussian, const Stage& stage, const ScoreTile<T>& tile,
                             F f) {
  const Tag<T> d;
  constexpr std::size_t kMost = kWidth < T >> kRows ? kWidth<T> : kRows;
  HWY_ALIGN T centres[kMost] = {};
  const TileStrides s = StridesOf(stage.tensor, tile);
  const std::int64_t query = tile.rows_are_keys ? s.lane : s.row;
  for (std::size_t i = 0; i < tile.queries(); ++i) {
    centres[i] = ElementAs<T>(stage.tensor.dtype, stage.tensor.data,
                              s.first + static_cast<std::int64_t>(i) * query);
  }
  const auto factor = hn::Set(d, static_cast<T>(-0.5 / (gaussian.sigma * gaussian.sigma)));
  for (std::size_t r = 0; r < tile.rows; ++r) {
    for (std::size_t c = 0; c < kWidth<T>; c += kLanes<T>) {
      const std::int64_t key = tile.j + static_cast<std::int64_t>(tile.rows_are_keys ? r : c);
      const auto first = hn::Set(d, static_cast<T>(key));
      const auto distance =
          tile.rows_are_keys ? hn::Sub(first, hn::Load(d, centres + c))
                             : hn::Sub(hn::Add(hn::Iota(d, T{0}), first), hn::Set(d, centres[r]));
      f(r * kWidth<T> + c, Exp<T>(hn::Mul(hn::Mul(distance, distance), factor)), distance);
    }
  }
}

template <typename T>
struct TimesGaussian {
  T* factors;
  HWY_INLINE void operator()(std::size_t at, Vec<T> value, Vec<T> /*distance*/) const {
    const Tag<T> d;
    hn::Store(hn::Mul(hn::Load(d, factors + at), value), d, factors + at);
  }
};

template <typename T>
HWY_NOINLINE void ApplyFactor(const Gaussian& gaussian, const Stage& stage,
                              const ScoreTile<T>& tile, T* HWY_RESTRICT factors) {
  EachGaussian(gaussian, stage, tile, TimesGaussian<T>{factors});
}

// d value / d centre = value * (j - centre) / sigma^2.
template <typename T>
struct TimesSlope {
  T* gradient;
  T inverse;
  HWY_INLINE void operator()(std::size_t at, Vec<T> value, Vec<T> distance) const {
    const Tag<T> d;
    const auto slope = hn::Mul(hn::Mul(value, distance), hn::Set(d, inverse));
    hn::Store(hn::Mul(hn::Load(d, gradient + at), slope), d, gradient + at);
  }
};

// Turns the gradient of the Gaussian into that of its centre, in place, and adds it.
template <typename T>
HWY_NOINLINE void DeriveFactor(const Gaussian& gaussian, const Stage& stage,
                               const ScoreTile<T>& gradient) {
  EachGaussian(gaussian, stage, gradient,
               TimesSlope<T>{gradient.data, static_cast<T>(1 / (gaussian.sigma * gaussian.sigma))});
  AddToTensor(stage.gradient, gradient);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
