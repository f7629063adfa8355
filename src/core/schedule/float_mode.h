// SPDX-License-Identifier: Apache-2.0
// The caller's handling of denormal numbers, taken over by a worker for as long as this lives.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace regard::schedule {

#if defined(__SSE2__)
inline std::uint32_t float_mode() { return _mm_getcsr(); }

class FloatMode {
 public:
  explicit FloatMode(std::uint32_t mode) : own_(_mm_getcsr()) {
    if (mode != own_) _mm_setcsr(mode);
  }
  ~FloatMode() { _mm_setcsr(own_); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  std::uint32_t own_;
};
#else
inline std::uint32_t float_mode() { return 0; }

class FloatMode {
 public:
  explicit FloatMode(std::uint32_t) {}
  ~FloatMode() {}
};
#endif

}  // namespace regard::schedule
