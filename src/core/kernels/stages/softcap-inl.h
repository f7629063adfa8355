// SPDX-License-Identifier: Apache-2.0
// s <- cap * tanh(s / cap).

#if defined(REGARD_KERNELS_SOFTCAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SOFTCAP_INL_H_
#undef REGARD_KERNELS_SOFTCAP_INL_H_
#else
#define REGARD_KERNELS_SOFTCAP_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/tile/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
HWY_NOINLINE void Apply(const Softcap& softcap, const Stage&, const ScoreTile<T>& tile) {
  const Tag<T> d;
  const auto cap = hn::Set(d, static_cast<T>(softcap.cap));
  const auto inverse = hn::Set(d, static_cast<T>(1 / softcap.cap));
  for (std::size_t r = 0; r < tile.rows; ++r) {
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
      T* HWY_RESTRICT at = tile.data + r * kWidth<T> + lane;
      hn::Store(hn::Mul(cap, Tanh<T>(hn::Mul(hn::Load(d, at), inverse))), d, at);
    }
  }
}

// d tanh = 1 - tanh^2, from the capped score.
template <typename T>
HWY_NOINLINE void Derive(const Softcap& softcap, const Stage&, const ScoreTile<T>& gradient,
                         const T* HWY_RESTRICT output) {
  const Tag<T> d;
  const auto inverse = hn::Set(d, static_cast<T>(1 / softcap.cap));
  for (std::size_t r = 0; r < gradient.rows; ++r) {
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
      T* HWY_RESTRICT at = gradient.data + r * kWidth<T> + lane;
      const auto t = hn::Mul(hn::Load(d, output + r * kWidth<T> + lane), inverse);
      // (1 - t)(1 + t) keeps the small differences that 1 - t * t rounds away.
      const auto slope = hn::Mul(hn::Sub(hn::Set(d, T{1}), t), hn::Add(hn::Set(d, T{1}), t));
      hn::Store(hn::Mul(hn::Load(d, at), slope), d, at);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
