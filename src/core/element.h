// SPDX-License-Identifier: Apache-2.0
// One element of a view of any floating dtype, read and written as float64.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "regard/tensor_view.h"

namespace regard {

// A 16-bit float with these many exponent and mantissa bits: (5, 10) is float16, (8, 7) is
// bfloat16.
template <int kExponentBits, int kMantissaBits>
struct Narrow {
  static constexpr int kMinExponent = 2 - (1 << (kExponentBits - 1));
  static constexpr int kInfinity = ((1 << kExponentBits) - 1) << kMantissaBits;

  static double widen(std::uint16_t bits) {
    const int magnitude = bits & 0x7fff, exponent = magnitude >> kMantissaBits,
              mantissa = magnitude & ((1 << kMantissaBits) - 1);
    double value;
    if (magnitude > kInfinity) {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (magnitude == kInfinity) {
      value = std::numeric_limits<double>::infinity();
    } else if (exponent == 0) {
      value = std::ldexp(mantissa, kMinExponent - kMantissaBits);
    } else {
      value =
          std::ldexp(mantissa + (1 << kMantissaBits), exponent - 1 + kMinExponent - kMantissaBits);
    }
    return (bits & 0x8000) != 0 ? -value : value;
  }

  // The nearest, ties to even.
  static std::uint16_t round(double value) {
    const int sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::abs(value);
    if (std::isnan(value))
      return static_cast<std::uint16_t>(sign | kInfinity | 1 << (kMantissaBits - 1));
    if (std::isinf(value)) return static_cast<std::uint16_t>(sign | kInfinity);
    if (magnitude == 0) return static_cast<std::uint16_t>(sign);
    const int exponent = std::max(std::ilogb(magnitude), kMinExponent);
    if (exponent > -kMinExponent + 1) return static_cast<std::uint16_t>(sign | kInfinity);
    // In units of the last place. The implicit leading bit, where there is one, adds 1 to the
    // exponent field; so does a carry.
    const int steps =
        static_cast<int>(std::nearbyint(std::ldexp(magnitude, kMantissaBits - exponent)));
    return static_cast<std::uint16_t>(
        sign | std::min(((exponent - kMinExponent) << kMantissaBits) + steps, kInfinity));
  }
};
using Float16 = Narrow<5, 10>;
using BFloat16 = Narrow<8, 7>;

// What kernels compute in, and keep statistics in: float64 for float64, float32 for all others.
constexpr DType computed_in(DType inputs) {
  return inputs == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

using Index = std::int64_t;

template <typename Pointer>
Index offset_of(const BasicTensorView<Pointer>& view, Index b, Index h, Index i, Index d) {
  return b * view.strides[0] + h * view.strides[1] + i * view.strides[2] + d * view.strides[3];
}

inline double load(const TensorView& view, Index b, Index h, Index i, Index d) {
  const Index at = offset_of(view, b, h, i, d);
  switch (view.dtype) {
    case DType::kFloat32: return static_cast<const float*>(view.data)[at];
    case DType::kFloat64: return static_cast<const double*>(view.data)[at];
    case DType::kFloat16: return Float16::widen(static_cast<const std::uint16_t*>(view.data)[at]);
    case DType::kBFloat16: return BFloat16::widen(static_cast<const std::uint16_t*>(view.data)[at]);
    case DType::kBool:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kInt8: break;  // refused before
  }
  return std::numeric_limits<double>::quiet_NaN();
}

inline void store(const MutableTensorView& view, Index b, Index h, Index i, Index d, double value) {
  const Index at = offset_of(view, b, h, i, d);
  switch (view.dtype) {
    case DType::kFloat32: static_cast<float*>(view.data)[at] = static_cast<float>(value); break;
    case DType::kFloat64: static_cast<double*>(view.data)[at] = value; break;
    case DType::kFloat16: static_cast<std::uint16_t*>(view.data)[at] = Float16::round(value); break;
    case DType::kBFloat16:
      static_cast<std::uint16_t*>(view.data)[at] = BFloat16::round(value);
      break;
    case DType::kBool:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kInt8: break;
  }
}

// A view of the full shape, of one that broadcasts to it.
template <class View>
View broadcast_to(View view, const Shape& full) {
  for (std::size_t axis = 0; axis < 4; ++axis) {
    if (view.shape[axis] == 1) view.strides[axis] = 0;
    view.shape[axis] = full[axis];
  }
  return view;
}

}  // namespace regard
