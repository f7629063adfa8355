// SPDX-License-Identifier: Apache-2.0
// s <- s / temperature of the head.

#if defined(REGARD_KERNELS_TEMPERATURE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TEMPERATURE_INL_H_
#undef REGARD_KERNELS_TEMPERATURE_INL_H_
#else
#define REGARD_KERNELS_TEMPERATURE_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
HWY_NOINLINE void Apply(const Temperature&, const Stage& stage, const ScoreTile<T>& tile) {
  const Tag<T> d;
  const auto inverse = hn::Set(d, T{1} / HeadElement(stage.tensor, tile));
  for (std::size_t at = 0; at < tile.rows * kWidth<T>; at += kLanes<T>)
    hn::Store(hn::Mul(hn::Load(d, tile.data + at), inverse), d, tile.data + at);
}

// d (s / t) / dt = -(s / t) / t, from the divided score.
template <typename T>
HWY_NOINLINE void Derive(const Temperature&, const Stage& stage, const ScoreTile<T>& gradient,
                         const T* HWY_RESTRICT output) {
  const Tag<T> d;
  const T inverse = T{1} / HeadElement(stage.tensor, gradient);
  double sum = 0;
  for (std::size_t r = 0; r < gradient.rows; ++r) {
    T* HWY_RESTRICT row = gradient.data + r * kWidth<T>;
    if (stage.partials != nullptr) {
      for (std::size_t c = 0; c < gradient.lanes; ++c)
        sum += static_cast<double>(row[c]) * static_cast<double>(output[r * kWidth<T> + c]);
    }
    for (std::size_t c = 0; c < kWidth<T>; c += kLanes<T>)
      hn::Store(hn::Mul(hn::Load(d, row + c), hn::Set(d, inverse)), d, row + c);
  }
  if (stage.partials != nullptr)
    stage.partials[gradient.slot] -= sum * static_cast<double>(inverse);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
