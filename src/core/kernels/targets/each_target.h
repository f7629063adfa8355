// SPDX-License-Identifier: Apache-2.0
// Chooses among the copies of a function that foreach_target.h has made, one per instruction set.
// Our own choice rather than Highway's process-wide one, which other libraries in the process
// share.
#pragma once

#include <cstdint>

#include "hwy/highway.h"

#if HWY_TARGETS & HWY_AVX3
#define REGARD_CASE_AVX3(function) \
  case HWY_AVX3:                   \
    return N_AVX3::function();
#else
#define REGARD_CASE_AVX3(function)
#endif
#if HWY_TARGETS & HWY_AVX2
#define REGARD_CASE_AVX2(function) \
  case HWY_AVX2:                   \
    return N_AVX2::function();
#else
#define REGARD_CASE_AVX2(function)
#endif
#if HWY_TARGETS & HWY_SSE4
#define REGARD_CASE_SSE4(function) \
  case HWY_SSE4:                   \
    return N_SSE4::function();
#else
#define REGARD_CASE_SSE4(function)
#endif

// The body of a function of `target`; whatever is not listed gets the portable copy.
#define REGARD_FOR_TARGET(target, function)          \
  switch (target) {                                  \
    REGARD_CASE_AVX3(function)                       \
    REGARD_CASE_AVX2(function)                       \
    REGARD_CASE_SSE4(function)                       \
    default: return HWY_STATIC_DISPATCH(function)(); \
  }
