// SPDX-License-Identifier: Apache-2.0
// What the code depends on of the instruction set being compiled: every comparison of HWY_TARGET
// that decides how a kernel computes is here. Numbers of x86 sets fall as the sets grow.

#if defined(REGARD_KERNELS_TARGET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TARGET_INL_H_
#undef REGARD_KERNELS_TARGET_INL_H_
#else
#define REGARD_KERNELS_TARGET_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// 512-bit vectors, 32 of them.
inline constexpr bool kAvx512 = HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3;
// Conversions to and from float16 are instructions, and a multiply-add rounds once.
inline constexpr bool kAvx2 = HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2;
inline constexpr bool kNeon = HWY_ARCH_ARM_A64 != 0 && HWY_TARGET != HWY_SCALAR;

// Rows of a tile, which is two vectors wide: 24 accumulators of 32 registers, or 12 of 16, which
// hides the latency of the multiply-add and keeps loads below multiply-adds.
inline constexpr std::size_t kRows = kAvx512 || kNeon ? 12 : 6;

// Whether Highway converts float16 with instructions, which round to nearest even and keep NaN and
// infinity; its own emulation of them (1.0.3) does neither.
inline constexpr bool kConvertsFloat16 = kAvx2 || kNeon;

// Whether a product of columns that fill no more than half a vector gains from half vectors: some
// processors that split the vectors of AVX-512 multiply twice as many.
inline constexpr bool kHalfVectors = kAvx512;

// Bytes of one head of a tensor that are prefetched for the next item: more would not lie in L2
// beside the others, and drive out what this item needs. Processors with AVX-512 have an L2 of 1
// MiB or more.
inline constexpr std::int64_t kMostPrefetchBytes = kAvx512 ? 65536 : 32768;

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
