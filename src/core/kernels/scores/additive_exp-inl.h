// SPDX-License-Identifier: Apache-2.0
// e^{2x} of the rows of an additive score, taken once per row: tanh(a + b) = 1 - 2 / (1 + e^{2a}
// e^{2b}).

#if defined(REGARD_KERNELS_ADDITIVE_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_EXP_INL_H_
#undef REGARD_KERNELS_ADDITIVE_EXP_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_EXP_INL_H_
#endif

#include <cstdint>

#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Beyond kMost an element is clamped, so that its exponential is a normal number. What is clamped
// still saturates beside a row whose elements are all within kNarrow: |a + b| >= kMost - kNarrow,
// where tanh is 1 in T. Only where both rows of a pair go beyond kNarrow (a = 60, b = -60) is the
// product of the exponentials not what was asked for; such pairs are computed from a + b. Four
// joined denominators, each at most kDenominator, do not overflow; a term that is clamped there is
// 2 / kDenominator, far below eps. NaN becomes kNanExponential, above all others: pairs with it are
// computed from a + b too; denominators with it are clamped as all are.
template <typename T>
struct AdditiveLimits;
template <>
struct AdditiveLimits<float> {
  static constexpr float kMost = 43.0f, kSmall = 32.0f, kDenominator = 2147483648.0f;  // 2^31
  static constexpr float kNarrowMost = 4.6071866e28f, kNarrowLeast = 2.1705220e-29f,
                         kNanExponential = 3e38f;  // kNarrow = 33
};
template <>
struct AdditiveLimits<double> {
  static constexpr double kMost = 350.0, kSmall = 320.0, kDenominator = 0x1p200;
  static constexpr double kNarrowMost = 4.308817e286, kNarrowLeast = 2.320823e-287,
                          kNanExponential = 1.7e308;  // kNarrow = 330
};

// What a row holds decides which of its pairs need care: those whose kinds add up to 2 or more.
enum RowKind : std::uint8_t { kNarrowRow = 0, kWideRow = 1, kNanRow = 2 };

// The least and the most of a row's exponentials, which say its kind.
template <typename T>
struct ExponentialRange {
  Vec<T> least, most;

  static HWY_INLINE ExponentialRange Nothing() {
    return {hn::Set(Tag<T>(), T{1}), hn::Set(Tag<T>(), T{1})};
  }
  HWY_INLINE void See(Vec<T> exponentials) {
    least = hn::Min(least, exponentials);
    most = hn::Max(most, exponentials);
  }
  HWY_INLINE RowKind Kind() const {
    const Tag<T> d;
    using Limits = AdditiveLimits<T>;
    if (!hn::AllFalse(d, hn::Ge(most, hn::Set(d, Limits::kNanExponential)))) return kNanRow;
    const auto wide = hn::Or(hn::Gt(most, hn::Set(d, Limits::kNarrowMost)),
                             hn::Lt(least, hn::Set(d, Limits::kNarrowLeast)));
    return hn::AllFalse(d, wide) ? kNarrowRow : kWideRow;
  }
};

// |x| <= kMost; relative error about 1e-7. The power of two is taken off in units of x: ln 2 / 2 is
// split in two, so that what is left is as exact as x (with log2(e) as one float the error
// is 2.7e-6 at |2x| = 80). For the rest, exp-inl.h's polynomial of 2^f at f = 2 log2(e) x.
HWY_INLINE Vec<float> ExpTwice(Vec<float> x) {
  const Tag<float> d;
  const hn::RebindToSigned<Tag<float>> di;
  constexpr float kMagic =
      12582912.0f + 127.0f;  // 1.5 * 2^23 + bias: leaves the rounded exponent in the low bits
  constexpr double kLog2E = 1.44269504088896340736;
  const auto biased = hn::MulAdd(x, hn::Set(d, static_cast<float>(2 * kLog2E)), hn::Set(d, kMagic));
  const auto n = hn::Sub(biased, hn::Set(d, kMagic));
  auto rest = hn::NegMulAdd(n, hn::Set(d, 0.693359375f / 2),
                            x);  // exact: n has 7 bits, this part of ln 2 has 10
  rest = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f / 2), rest);
  constexpr Exp2Terms kTerms(2 * kLog2E);
  return hn::Mul(Exp2OfFraction(rest, kTerms),
                 hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, biased))));
}
HWY_INLINE Vec<double> ExpTwice(Vec<double> x) { return hn::Exp(Tag<double>(), hn::Add(x, x)); }

// Of any x.
template <typename T>
HWY_INLINE Vec<T> Exponentials(Vec<T> x) {
  const Tag<T> d;
  using Limits = AdditiveLimits<T>;
  const auto most = hn::Set(d, Limits::kMost);
  const auto nan = hn::IsNaN(x);
  const auto clamped = hn::Max(hn::Neg(most), hn::Min(most, hn::IfThenZeroElse(nan, x)));
  return hn::IfThenElse(nan, hn::Set(d, Limits::kNanExponential), ExpTwice(clamped));
}

// Reads the last `n` elements of a row, fewer than a vector, with `rest` behind them.
template <typename T>
HWY_INLINE Vec<T> LoadTail(const T* from, std::size_t n, T rest) {
  HWY_ALIGN T some[kLanes<T>];
  for (std::size_t c = 0; c < kLanes<T>; ++c) some[c] = c < n ? from[c] : rest;
  return hn::Load(Tag<T>(), some);
}

// Whether all of a row is so small that its exponentials are a narrow row's, whatever they round
// to. Bits of |x| are ordered as numbers are, with infinity and NaN above all.
template <typename T>
HWY_NOINLINE bool AllSmall(const T* HWY_RESTRICT row, std::size_t cols) {
  const hn::RebindToSigned<Tag<T>> di;
  using Bits = hn::TFromD<decltype(di)>;
  const auto magnitude = hn::Set(di, hwy::LimitsMax<Bits>());
  auto most = hn::Zero(di);
  std::size_t c = 0;
  for (; c + kLanes<T> <= cols; c += kLanes<T>)
    most = hn::Max(most, hn::And(magnitude, hn::BitCast(di, hn::LoadU(Tag<T>(), row + c))));
  if (c < cols)
    most = hn::Max(most, hn::And(magnitude, hn::BitCast(di, LoadTail(row + c, cols - c, T{0}))));
  return hn::AllFalse(di,
                      hn::Gt(most, hn::BitCast(di, hn::Set(Tag<T>(), AdditiveLimits<T>::kSmall))));
}

// What elements of a row are when they come.
enum class Elements { kAny, kSmall, kExponentials };

template <typename T, Elements kElements>
HWY_INLINE Vec<T> ExponentialsOf(Vec<T> x) {
  if constexpr (kElements == Elements::kExponentials) return x;
  if constexpr (kElements == Elements::kSmall) return ExpTwice(x);
  return Exponentials<T>(x);
}

// to[c] <- e^{2 from[c]} (or from[c], where that has been made already) for `cols` elements, and
// zeros up to the next whole panel, for which there is room. `to` may be `from`. Whatever the row
// holds, its exponentials are finite and above 0. Returns its kind.
template <typename T, Elements kElements>
HWY_NOINLINE RowKind MakeExponentialsOf(const T* from, std::size_t cols, T* to) {
  const Tag<T> d;
  constexpr T kNothing = kElements == Elements::kExponentials ? T{1} : T{0};
  auto range = ExponentialRange<T>::Nothing();
  std::size_t c = 0;
  for (; c + kLanes<T> <= cols; c += kLanes<T>) {
    const auto e = ExponentialsOf<T, kElements>(hn::LoadU(d, from + c));
    if constexpr (kElements != Elements::kSmall) range.See(e);
    hn::StoreU(e, d, to + c);
  }
  if (c < cols) {
    const auto e = ExponentialsOf<T, kElements>(LoadTail(from + c, cols - c, kNothing));
    if constexpr (kElements != Elements::kSmall) range.See(e);
    hn::StoreU(hn::IfThenElseZero(hn::FirstN(d, cols - c), e), d, to + c);
    c += kLanes<T>;
  }
  if (c % kWidth<T> != 0) hn::StoreU(hn::Zero(d), d, to + c);
  return range.Kind();
}
template <typename T>
HWY_INLINE RowKind MakeExponentials(const T* from, std::size_t cols, T* to) {
  return AllSmall(from, cols) ? MakeExponentialsOf<T, Elements::kSmall>(from, cols, to)
                              : MakeExponentialsOf<T, Elements::kAny>(from, cols, to);
}

// The kind of a row of exponentials of whole vectors.
template <typename T>
HWY_NOINLINE RowKind KindOfExponentials(const T* HWY_RESTRICT row, std::size_t cols) {
  auto range = ExponentialRange<T>::Nothing();
  for (std::size_t c = 0; c < cols; c += kLanes<T>) range.See(hn::LoadU(Tag<T>(), row + c));
  return range.Kind();
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
