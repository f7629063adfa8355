// SPDX-License-Identifier: Apache-2.0
// How a thread handles denormal numbers: the caller's way, which a worker takes over for as long as
// a FloatMode lives, or the same but that denormal results become 0.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace regard::schedule {

#if defined(__SSE2__)
inline std::uint32_t float_mode() { return _mm_getcsr(); }
inline std::uint32_t flushing_mode() { return _mm_getcsr() | _MM_FLUSH_ZERO_ON; }

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
inline std::uint32_t flushing_mode() { return 0; }

class FloatMode {
 public:
  explicit FloatMode(std::uint32_t) {}
  ~FloatMode() {}
};
#endif

}  // namespace regard::schedule
