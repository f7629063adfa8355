// SPDX-License-Identifier: Apache-2.0
// e^x on vectors, for softmax: x at most a little above 0 in ordinary use.

#if defined(REGARD_KERNELS_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_EXP_INL_H_
#undef REGARD_KERNELS_EXP_INL_H_
#else
#define REGARD_KERNELS_EXP_INL_H_
#endif

#include "core/kernels/tile/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The minimax polynomial of 2^f on [-0.5, 0.5] for the relative error (1.9e-9), found by the Remez
// exchange, in x = f / unit; times a factor.
struct Exp2Terms {
  float of_power[7] = {1.0f,           6.93147182e-1f, 2.40226462e-1f, 5.55032864e-2f,
                       9.61848907e-3f, 1.33999309e-3f, 1.53458124e-4f};

  constexpr explicit Exp2Terms(double unit, double factor = 1) {
    double power = factor;
    for (float& term : of_power) {
      term = static_cast<float>(term * power);
      power *= unit;
    }
  }
};

HWY_INLINE Vec<float> Exp2OfFraction(Vec<float> x, const Exp2Terms& terms) {
  const Tag<float> d;
  auto p = hn::Set(d, terms.of_power[6]);
#pragma GCC unroll 6
  for (int power = 5; power >= 0; --power) p = hn::MulAdd(p, x, hn::Set(d, terms.of_power[power]));
  return p;
}

// Where e^x ends: 0 below `least`. Times a power of two 2^shift, with shift <= 0, it ends that much
// earlier, so that nothing becomes a denormal number, for which some processors take a hundred
// times as long. Of vectors, one element a lane.
template <typename V>
struct ExpEnd {
  V least;
  V magic;  // float: adding it leaves the nearest whole number, plus what makes it the exponent of
            // 2^(shift - 1), in the low bits of the sum
};

template <typename T>
inline constexpr int kLeastPower = sizeof(T) == 4 ? -126 : -1021;

template <typename T>
struct ExpEndOf {
  T least, magic;
  constexpr explicit ExpEndOf(int shift)
      : least(static_cast<T>((kLeastPower<T> - shift) * 0.69314718055994530942)),
        magic(static_cast<T>(12582912 - kLeastPower<T> + shift)) {}  // 1.5 * 2^23
};

// float: 2^shift e^x. Relative error below 1.5e-7 near 0, growing to 2e-6 at -87 (log2(e) is one
// float), on [-87, 44]. Below 2^-125.5 the result is 0, and never a denormal number; so for an x of
// -infinity. Above 88 it saturates near 2^127, so that a row sum shows that its maximum was too
// low. NaN gives NaN.
//
// 2^(x log2(e)) = 2^(n - 1) 2 2^f with n the nearest integer: at the least n, the exponent's bits
// are 0, and so is the power.
HWY_INLINE Vec<float> Exp(Vec<float> x, const ExpEnd<Vec<float>>& end) {
  const Tag<float> d;
  const hn::RebindToSigned<Tag<float>> di;
  const auto log2e = hn::Set(d, 1.44269504088896340736f);
  // The order of arguments lets NaN through on x86, where max returns its second operand.
  auto clamped = hn::Max(end.least, x);
#if HWY_TARGET == HWY_SCALAR
  clamped = hn::IfThenElse(hn::IsNaN(x), x, clamped);
#endif
  const auto biased = hn::MulAdd(clamped, log2e, end.magic);
  const auto n = hn::Sub(biased, end.magic);
#if HWY_TARGET <= HWY_AVX2
  const auto f = hn::MulSub(clamped, log2e, n);
#else
  // Without a fused multiply-add the difference would lose what the product was rounded by: n ln 2
  // in two pieces, the first of them exact.
  const auto rest = hn::Sub(hn::Sub(clamped, hn::Mul(n, hn::Set(d, 0.693145751953125f))),
                            hn::Mul(n, hn::Set(d, 1.42860677e-6f)));
  const auto f = hn::Mul(rest, log2e);
#endif
  const auto capped = hn::Min(hn::Set(d, 12582912.0f + 253.0f), biased);
  const auto power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, capped)));
  constexpr Exp2Terms kTerms(1, 2);
  return hn::Mul(Exp2OfFraction(f, kTerms), power);
}

// double: within 2 ulp (Highway's math library) up to 708, where it saturates; 0 below the end. The
// power of two is left to the caller.
HWY_INLINE Vec<double> Exp(Vec<double> x, const ExpEnd<Vec<double>>& end) {
  const Tag<double> d;
  const auto clamped = hn::Max(end.least, hn::Min(hn::Set(d, 708.0), x));
  const auto e = hn::IfThenZeroElse(hn::Lt(x, end.least), hn::Exp(d, clamped));
  return hn::IfThenElse(hn::IsNaN(x), x, e);
}

template <typename T>
HWY_INLINE ExpEnd<Vec<T>> NoShift() {
  constexpr ExpEndOf<T> kEnd(0);
  return {hn::Set(Tag<T>(), kEnd.least), hn::Set(Tag<T>(), kEnd.magic)};
}

// e^x.
template <typename T>
HWY_INLINE Vec<T> Exp(Vec<T> x) {
  return Exp(x, NoShift<T>());
}

// x[i] = e^-x[i] for `n` elements, taken in double: of a logarithm in float the digits behind the
// first ones are lost.
template <typename T>
HWY_INLINE void ExpOfNegated(T* HWY_RESTRICT x, std::size_t n) {
  const Tag<double> d;
  HWY_ALIGN double wide[kLanes<double>] = {};
  for (std::size_t at = 0; at < n; at += kLanes<double>) {
    const std::size_t count = n - at < kLanes<double> ? n - at : kLanes<double>;
    for (std::size_t i = 0; i < count; ++i) wide[i] = -static_cast<double>(x[at + i]);
    hn::Store(Exp<double>(hn::Load(d, wide)), d, wide);
    for (std::size_t i = 0; i < count; ++i) x[at + i] = static_cast<T>(wide[i]);
  }
}

// e^x - 1 for x <= 0, within 2 ulp: 2^n (e^r - 1) + (2^n - 1), where |r| <= ln(2) / 2 and e^r - 1
// is its Taylor series. NaN gives NaN.
template <typename T>
HWY_INLINE Vec<T> ExpMinus1(Vec<T> x) {
  const Tag<T> d;
  const hn::RebindToSigned<Tag<T>> di;
  constexpr bool kFloat = sizeof(T) == 4;
  constexpr int kMantissa = kFloat ? 23 : 52;
  // 1.5 * 2^kMantissa plus the exponent's bias: a sum with it has the rounded number, biased, in
  // its low bits.
  const auto magic =
      hn::Set(d, static_cast<T>(kFloat ? 12582912.0 + 127 : 6755399441055744.0 + 1023));
  const auto least = hn::Set(d, static_cast<T>(kFloat ? -87 : -708));
  const auto clamped = hn::IfThenElse(hn::Lt(x, least), least, x);
  const auto biased =
      hn::Add(hn::Mul(clamped, hn::Set(d, static_cast<T>(1.44269504088896340736))), magic);
  const auto n = hn::Sub(biased, magic);
  // ln 2 in two pieces: n times the first is exact.
  const auto high =
      hn::Set(d, static_cast<T>(kFloat ? 0.693145751953125 : 6.93147180369123816490e-01));
  const auto low =
      hn::Set(d, static_cast<T>(kFloat ? 1.42860682030941723212e-6 : 1.90821492927058770002e-10));
  const auto r = hn::Sub(hn::Sub(clamped, hn::Mul(n, high)), hn::Mul(n, low));
  constexpr int kTerms = kFloat ? 8 : 14;
  double factorial = 1;
  for (int k = 2; k <= kTerms; ++k) factorial *= k;
  auto p = hn::Set(d, static_cast<T>(1 / factorial));
  for (int k = kTerms; k > 2; --k) {
    factorial /= k;
    p = hn::MulAdd(p, r, hn::Set(d, static_cast<T>(1 / factorial)));
  }
  p = hn::MulAdd(hn::Mul(r, r), p, r);
  const auto power = hn::BitCast(d, hn::ShiftLeft<kMantissa>(hn::BitCast(di, biased)));
  return hn::MulAdd(power, p, hn::Sub(power, hn::Set(d, T{1})));
}

// tanh(x) = -e / (2 + e) with e = exp(-2|x|) - 1, and the sign of x: within a few ulp everywhere.
template <typename T>
HWY_INLINE Vec<T> Tanh(Vec<T> x) {
  const Tag<T> d;
  const auto e = ExpMinus1<T>(hn::Mul(hn::Set(d, T{-2}), hn::Abs(x)));
  return hn::CopySign(hn::Div(e, hn::Add(hn::Set(d, T{2}), e)), x);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
