// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/dtypes.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace regard::testing {
namespace {

template <typename T>
T read(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

template <typename T>
void write(void* p, T value) {
  std::memcpy(p, &value, sizeof value);
}

std::uint16_t bf16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);  // stays a NaN
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float bf16_value(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

double f16_value(std::uint16_t bits) {
  const double sign = (bits & 0x8000) ? -1.0 : 1.0;
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  if (exponent == 31)
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  return exponent ? sign * std::ldexp(1024 + mantissa, exponent - 25)
                  : sign * std::ldexp(mantissa, -24);
}

std::uint16_t f16_bits(double value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7e00;
  const double size = std::abs(value);
  if (size >= 65520)
    return sign |
           0x7c00;  // halfway from the largest number to what would come next: away to infinity
  const int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
  const double units = std::nearbyint(
      std::ldexp(size, 10 - exponent));  // 1024 to 2048 for normal numbers, less for denormals
  // A carry into the next exponent, and from denormal to normal, falls out of the addition.
  return static_cast<std::uint16_t>(sign + ((exponent + 14) << 10) + static_cast<int>(units));
}

}  // namespace

double eps(DType dtype) {
  switch (dtype) {
    case kBf16: return 0x1p-7;
    case kF16: return 0x1p-10;
    case kF64: return 0x1p-52;
    default: return 0x1p-23;
  }
}

double largest(DType dtype) {
  switch (dtype) {
    case kBf16: return bf16_value(0x7f7f);
    case kF16: return 65504;
    case kF64: return std::numeric_limits<double>::max();
    default: return std::numeric_limits<float>::max();
  }
}

double load(const void* element, DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return read<float>(element);
    case DType::kBFloat16: return bf16_value(read<std::uint16_t>(element));
    case DType::kFloat16: return f16_value(read<std::uint16_t>(element));
    case DType::kFloat64: return read<double>(element);
    case DType::kBool: return read<std::uint8_t>(element);
    case DType::kInt32: return read<std::int32_t>(element);
    case DType::kInt64: return static_cast<double>(read<std::int64_t>(element));
    case DType::kInt8: return read<std::int8_t>(element);
  }
  return 0;
}

void store(double value, void* element, DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return write(element, static_cast<float>(value));
    case DType::kBFloat16: return write(element, bf16_bits(static_cast<float>(value)));
    case DType::kFloat16: return write(element, f16_bits(value));
    case DType::kFloat64: return write(element, value);
    case DType::kBool: return write(element, static_cast<std::uint8_t>(value != 0));
    case DType::kInt32: return write(element, static_cast<std::int32_t>(value));
    case DType::kInt64: return write(element, static_cast<std::int64_t>(value));
    case DType::kInt8: return write(element, static_cast<std::int8_t>(value));
  }
}

double round_to(DType dtype, double value) {
  alignas(8) unsigned char element[8];
  store(value, element, dtype);
  return load(element, dtype);
}

float round_to_bf16(float value) { return bf16_value(bf16_bits(value)); }

}  // namespace regard::testing
