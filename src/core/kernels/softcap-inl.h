// s <- cap * tanh(s / cap).

#if defined(REGARD_KERNELS_SOFTCAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SOFTCAP_INL_H_
#undef REGARD_KERNELS_SOFTCAP_INL_H_
#else
#define REGARD_KERNELS_SOFTCAP_INL_H_
#endif

#include "core/kernels/exp-inl.h"
#include "core/kernels/kernels.h"
#include "core/kernels/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// tanh(x) = (1 - e) / (1 + e) with e = exp(-2|x|), absolute error below 2e-7 (float); near 0, where the difference cancels, the odd series
// x - x^3/3 + 2x^5/15 - 17x^7/315 (relative error below 1e-7 for |x| < 0.15; double takes it below 0.004).
template <typename T>
HWY_INLINE Vec<T> Tanh(Vec<T> x) {
  const Tag<T> d;
  const auto one = hn::Set(d, T{1});
  const auto magnitude = hn::Abs(x);
  const auto e = Exp(hn::Mul(hn::Set(d, T{-2}), magnitude));
  const auto far = hn::CopySign(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
  const auto x2 = hn::Mul(x, x);
  auto series = hn::MulAdd(x2, hn::Set(d, static_cast<T>(-17.0 / 315)), hn::Set(d, static_cast<T>(2.0 / 15)));
  series = hn::MulAdd(x2, series, hn::Set(d, static_cast<T>(-1.0 / 3)));
  const auto near = hn::MulAdd(hn::Mul(x, x2), series, x);
  const auto bound = hn::Set(d, sizeof(T) == 4 ? static_cast<T>(0.15) : static_cast<T>(0.004));
  return hn::IfThenElse(hn::Lt(magnitude, bound), near, far);
}

template <typename T>
HWY_NOINLINE void ApplySoftcap(const Stage& stage, const ScoreTile<T>& tile) {
  const Tag<T> d;
  const auto cap = hn::Set(d, static_cast<T>(stage.cap));
  const auto inverse = hn::Set(d, static_cast<T>(1 / stage.cap));
  for (std::size_t r = 0; r < tile.rows; ++r) {
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
      T* HWY_RESTRICT at = tile.data + r * kWidth<T> + lane;
      hn::Store(hn::Mul(cap, Tanh<T>(hn::Mul(hn::Load(d, at), inverse))), d, at);
    }
  }
}

// d tanh = 1 - tanh^2, from the capped score.
template <typename T>
HWY_NOINLINE void DeriveSoftcap(const Stage& stage, const ScoreTile<T>& gradient, const T* HWY_RESTRICT output) {
  const Tag<T> d;
  const auto inverse = hn::Set(d, static_cast<T>(1 / stage.cap));
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
