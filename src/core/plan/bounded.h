// SPDX-License-Identifier: Apache-2.0
// Sums of what a caller may choose freely (offsets, window sizes), bounded so that what is added to
// them does not overflow.
#pragma once

#include <algorithm>
#include <cstdint>

namespace regard::plan {

// More than any two rows of a sequence are apart, and small enough for rows to be added without
// overflow.
inline constexpr std::int64_t kBeyond = std::int64_t{1} << 40;

// a + b, where both are any int64, kept within [-kBeyond, kBeyond].
inline std::int64_t bounded_sum(std::int64_t a, std::int64_t b) {
  std::int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return a < 0 ? -kBeyond : kBeyond;
  return std::clamp(sum, -kBeyond, kBeyond);
}

// a + b * c, likewise.
inline std::int64_t bounded_sum(std::int64_t a, std::int64_t b, std::int64_t c) {
  const __int128 sum = static_cast<__int128>(a) + static_cast<__int128>(b) * c;
  return static_cast<std::int64_t>(std::clamp<__int128>(sum, -kBeyond, kBeyond));
}

// a modulo n, from 0 to n - 1.
inline std::int64_t modulo(std::int64_t a, std::int64_t n) {
  const std::int64_t rest = a % n;
  return rest < 0 ? rest + n : rest;
}

}  // namespace regard::plan
