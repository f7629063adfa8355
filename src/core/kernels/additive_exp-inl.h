// e^{2x} of the rows of an additive score, taken once per row: tanh(a + b) = 1 - 2 / (1 + e^{2a} e^{2b}).

#if defined(REGARD_KERNELS_ADDITIVE_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_EXP_INL_H_
#undef REGARD_KERNELS_ADDITIVE_EXP_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_EXP_INL_H_
#endif

#include <cstdint>

#include "core/kernels/exp-inl.h"
#include "core/kernels/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Beyond kMost an element is clamped, so that its exponential is a normal number. What is clamped still saturates beside a row whose
// elements are all within kNarrow: |a + b| >= kMost - kNarrow, where tanh is 1 in T. Only where both rows of a pair go beyond kNarrow (a =
// 60, b = -60) is the product of the exponentials not what was asked for; such pairs are computed from a + b. Four joined denominators,
// each at most kDenominator, do not overflow; a term that is clamped there is 2 / kDenominator, far below eps.
template <typename T>
struct AdditiveLimits;
template <>
struct AdditiveLimits<float> {
  static constexpr float kMost = 43.0f, kNarrow = 33.0f, kDenominator = 2147483648.0f;  // 2^31
};
template <>
struct AdditiveLimits<double> {
  static constexpr double kMost = 350.0, kNarrow = 330.0, kDenominator = 0x1p200;
};

// What a row holds decides which of its pairs need care: those whose kinds add up to 2 or more.
enum RowKind : std::uint8_t { kNarrowRow = 0, kWideRow = 1, kNanRow = 2 };

// |x| <= kMost; relative error about 1e-7. ln 2 is split in two, so that the reduced argument is as exact as x: with log2(e) as one float
// the error is 2.7e-6 at |2x| = 80.
HWY_INLINE Vec<float> ExpTwice(Vec<float> x) {
  const Tag<float> d;
  const hn::RebindToSigned<Tag<float>> di;
  constexpr float kMagic = 12582912.0f + 127.0f;  // 1.5 * 2^23 + bias: leaves the rounded exponent in the low bits
  const auto log2e = hn::Set(d, 1.44269504088896340736f);
  const auto twice = hn::Add(x, x);
  const auto biased = hn::MulAdd(twice, log2e, hn::Set(d, kMagic));
  const auto n = hn::Sub(biased, hn::Set(d, kMagic));
  auto f = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), twice);  // exact: n has 7 bits, this part of ln 2 has 10
  f = hn::Mul(hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), f), log2e);
  return hn::Mul(Exp2OfFraction(f), hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, biased))));
}
HWY_INLINE Vec<double> ExpTwice(Vec<double> x) { return hn::Exp(Tag<double>(), hn::Add(x, x)); }

// row[c] <- e^{2 row[c]} for `cols` elements; there is room for whole vectors behind them. Whatever the row holds, its exponentials are
// finite and above 0. Returns its kind.
template <typename T>
HWY_NOINLINE RowKind ExponentiateRow(T* HWY_RESTRICT row, std::size_t cols) {
  const Tag<T> d;
  using Limits = AdditiveLimits<T>;
  const auto most = hn::Set(d, Limits::kMost), narrow = hn::Set(d, Limits::kNarrow);
  for (std::size_t c = cols; c % kLanes<T> != 0; ++c) row[c] = T{0};
  auto wide = hn::IsNaN(hn::Zero(d)), nan = wide;  // none yet
  for (std::size_t c = 0; c < cols; c += kLanes<T>) {
    const auto x = hn::LoadU(d, row + c);
    const auto not_a_number = hn::IsNaN(x);
    nan = hn::Or(nan, not_a_number);
    wide = hn::Or(wide, hn::Gt(hn::Abs(x), narrow));
    const auto clamped = hn::Max(hn::Neg(most), hn::Min(most, hn::IfThenZeroElse(not_a_number, x)));
    hn::StoreU(ExpTwice(clamped), d, row + c);
  }
  return !hn::AllFalse(d, nan) ? kNanRow : !hn::AllFalse(d, wide) ? kWideRow : kNarrowRow;
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
