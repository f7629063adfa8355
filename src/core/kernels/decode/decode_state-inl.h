// SPDX-License-Identifier: Apache-2.0
// Rows' states over parts of the keys, and their merge.

#if defined(REGARD_KERNELS_DECODE_STATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_DECODE_STATE_INL_H_
#undef REGARD_KERNELS_DECODE_STATE_INL_H_
#else
#define REGARD_KERNELS_DECODE_STATE_INL_H_
#endif

#include <cmath>

#include "core/kernels/tile/simd-inl.h"
#include "core/kernels/tile/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The output of a row, not divided by the sum yet, its maximum (-infinity: it has seen nothing, and
// the rest holds anything), and the sum: [columns in whole vectors][maximum][sum].
struct RowState {
  float* at;
  std::size_t cols;
  float& maximum() const { return at[cols]; }
  float& sum() const { return at[cols + 1]; }
};

// into <- into + other.
inline HWY_NOINLINE void MergeRow(const RowState& other, const RowState& into) {
  const Tag<float> d;
  if (other.maximum() == kMinusInfinity<float>) return;
  if (into.maximum() == kMinusInfinity<float>) {
    for (std::size_t c = 0; c < into.cols; c += kLanes<float>)
      hn::Store(hn::Load(d, other.at + c), d, into.at + c);
    into.maximum() = other.maximum();
    into.sum() = other.sum();
    return;
  }
  const float a = into.maximum(), b = other.maximum();
  const float most = a != a || a >= b ? a : b;  // NaN stays
  const float own = std::exp(a - most), others = std::exp(b - most);
  for (std::size_t c = 0; c < into.cols; c += kLanes<float>) {
    const auto x = hn::Mul(hn::Load(d, into.at + c), hn::Set(d, own));
    hn::Store(hn::MulAdd(hn::Load(d, other.at + c), hn::Set(d, others), x), d, into.at + c);
  }
  into.sum() = into.sum() * own + other.sum() * others;
  into.maximum() = most;
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
