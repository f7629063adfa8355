// SPDX-License-Identifier: Apache-2.0
// Vector tags and the shape of a tile, for the instruction set being compiled.

#if defined(REGARD_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SIMD_INL_H_
#undef REGARD_KERNELS_SIMD_INL_H_
#else
#define REGARD_KERNELS_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "core/kernels/tile/target-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
using Tag = hn::ScalableTag<T>;
template <typename T>
using Vec = hn::Vec<Tag<T>>;
template <typename T>
using MaskOf = hn::Mask<Tag<T>>;

// Lanes of one vector.
template <typename T>
inline constexpr std::size_t kLanes = hn::MaxLanes(Tag<T>());
// A tile is kRows rows (target-inl.h) by two vectors.
template <typename T>
inline constexpr std::size_t kWidth = 2 * kLanes<T>;

// Whether all of many vectors are finite: `seen` starts as zeros, and takes x - x of each, which is
// 0 or NaN. (A sum would wait for itself at every step.)
template <typename T>
HWY_INLINE Vec<T> See(Vec<T> seen, Vec<T> x) {
  return hn::Or(seen, hn::Sub(x, x));
}
template <typename T>
HWY_INLINE bool AllFinite(Vec<T> seen) {
  return hn::AllTrue(Tag<T>(), hn::Eq(seen, hn::Zero(Tag<T>())));
}

// Writes zeros over whole vectors. (For a size that it knows, a compiler may choose an instruction
// that takes long to start.)
template <typename T>
HWY_INLINE void Clear(T* HWY_RESTRICT to, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kLanes<T>)
    hn::Store(hn::Zero(Tag<T>()), Tag<T>(), to + i);
}

// Calls a tile function templated on its row count for the smallest count that holds `rows`. A
// row's arithmetic is the same in all.
#define REGARD_FOR_ROWS(rows, call)            \
  do {                                         \
    if ((rows)*3 > kRows * 2) {                \
      constexpr std::size_t M = kRows;         \
      call;                                    \
    } else if ((rows)*3 > kRows) {             \
      constexpr std::size_t M = kRows * 2 / 3; \
      call;                                    \
    } else {                                   \
      constexpr std::size_t M = kRows / 3;     \
      call;                                    \
    }                                          \
  } while (false)

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
