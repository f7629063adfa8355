// SPDX-License-Identifier: Apache-2.0
// Packed operands: what the tiles of tile_gemm-inl.h read, made from rows.
//
//   lanes:  [column][kWidth]   rows become lanes (transposed)     keys of a score tile
//   rows:   [column][kRows]    rows become broadcast rows         queries of an additive tile
//   panel:  [row][kWidth]      as they lie, kWidth columns         values

#if defined(REGARD_KERNELS_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PACK_INL_H_
#undef REGARD_KERNELS_PACK_INL_H_
#else
#define REGARD_KERNELS_PACK_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
inline constexpr std::size_t kBlock =
    kLanes<T> < 16 / sizeof(T) ? kLanes<T>
                               : 16 / sizeof(T);  // elements of 128 bits (1 where portable)

// Whole numbers are bit patterns (pairs of bfloat16): they are moved, never multiplied.
template <class V, typename T>
HWY_INLINE V Scaled(V v, V factor, T) {
  if constexpr (std::is_floating_point_v<T>) {
    return hn::Mul(v, factor);
  } else {
    return v;
  }
}

// One element of a row that may lie anywhere: pairs of bfloat16 start at any even address.
template <typename T>
HWY_INLINE T Element(const T* from) {
  T x;
  std::memcpy(&x, from, sizeof(T));
  return x;
}

#if HWY_TARGET != HWY_SCALAR  // one lane has nothing to transpose
// One vector whose 128-bit block b is four columns (two for double) of row b * kBlock.
template <typename T>
HWY_INLINE Vec<T> LoadBlocks(const T* const* rows, std::size_t c) {
  if constexpr (kLanes<T> == kBlock<T>) {
    return hn::LoadU(Tag<T>(), rows[0] + c);
  } else if constexpr (kLanes<T> == 2 * kBlock<T>) {
    const hn::Half<Tag<T>> d1;
    return hn::Combine(Tag<T>(), hn::LoadU(d1, rows[kBlock<T>] + c), hn::LoadU(d1, rows[0] + c));
  } else {
    const hn::Half<Tag<T>> d2;
    const hn::Half<hn::Half<Tag<T>>> d1;
    const auto low =
        hn::Combine(d2, hn::LoadU(d1, rows[kBlock<T>] + c), hn::LoadU(d1, rows[0] + c));
    const auto high = hn::Combine(d2, hn::LoadU(d1, rows[3 * kBlock<T>] + c),
                                  hn::LoadU(d1, rows[2 * kBlock<T>] + c));
    return hn::Combine(Tag<T>(), high, low);
  }
}

// Transposes kBlock x kBlock squares within 128-bit blocks, in place.
template <class D, class V>
HWY_INLINE void TransposeBlocks(D d, V* v) {
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    const hn::Repartition<std::uint64_t, D> d64;
    const auto t0 = hn::BitCast(d64, hn::InterleaveLower(d, v[0], v[1]));
    const auto t1 = hn::BitCast(d64, hn::InterleaveUpper(d, v[0], v[1]));
    const auto t2 = hn::BitCast(d64, hn::InterleaveLower(d, v[2], v[3]));
    const auto t3 = hn::BitCast(d64, hn::InterleaveUpper(d, v[2], v[3]));
    v[0] = hn::BitCast(d, hn::InterleaveLower(d64, t0, t2));
    v[1] = hn::BitCast(d, hn::InterleaveUpper(d64, t0, t2));
    v[2] = hn::BitCast(d, hn::InterleaveLower(d64, t1, t3));
    v[3] = hn::BitCast(d, hn::InterleaveUpper(d64, t1, t3));
  } else {
    const auto low = hn::InterleaveLower(d, v[0], v[1]);
    v[1] = hn::InterleaveUpper(d, v[0], v[1]);
    v[0] = low;
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

// to[c * kWidth + r] = rows[r][c], scaled, for the first `n` of kWidth rows, and zeros for the
// others, which point at zeros. Returns, where kCheck, whether all that was stored is finite.
template <bool kCheck = false, typename T>
HWY_NOINLINE bool PackLanes(const T* const* rows, [[maybe_unused]] std::size_t n, std::size_t cols,
                            T scale, T* HWY_RESTRICT to) {
  std::size_t c = 0;
  [[maybe_unused]] auto seen = hn::Zero(Tag<T>());
#if HWY_TARGET != HWY_SCALAR
  {
    const Tag<T> d;
    const auto factor = hn::Set(d, scale);
    const std::size_t halves = n <= kLanes<T> ? 1 : 2;
    for (; c + kBlock<T> <= cols; c += kBlock<T>) {
      for (std::size_t i = 0; halves == 1 && i < kBlock<T>; ++i)
        hn::Store(hn::Zero(d), d, to + (c + i) * kWidth<T> + kLanes<T>);
      for (std::size_t half = 0; half < halves; ++half) {
        Vec<T> v[kBlock<T>];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kBlock<T>; ++i)
          v[i] = LoadBlocks<T>(rows + half * kLanes<T> + i, c);
        TransposeBlocks(d, v);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kBlock<T>; ++i) {
          const auto x = Scaled(v[i], factor, T{});
          if constexpr (kCheck) seen = See<T>(seen, x);
          hn::Store(x, d, to + (c + i) * kWidth<T> + half * kLanes<T>);
        }
      }
    }
  }
#endif
  for (; c < cols; ++c) {
    for (std::size_t r = 0; r < kWidth<T>; ++r)
      to[c * kWidth<T> + r] =
          std::is_floating_point_v<T> ? Element(rows[r] + c) * scale : Element(rows[r] + c);
    if constexpr (kCheck)
      seen = See<T>(See<T>(seen, hn::Load(Tag<T>(), to + c * kWidth<T>)),
                    hn::Load(Tag<T>(), to + c * kWidth<T> + kLanes<T>));
  }
  if constexpr (kCheck) return AllFinite<T>(seen);
  return true;
}

// to[c * kRows + r] = rows[r][c] for kRows rows; up to three elements behind the end are
// overwritten.
template <typename T>
HWY_NOINLINE void PackRows(const T* const* rows, std::size_t cols, T* HWY_RESTRICT to) {
  std::size_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  {
    const hn::CappedTag<T, kBlock<T>> d;
    constexpr std::size_t kLast = (kRows - 1) / kBlock<T> * kBlock<T>;
    for (; c + kBlock<T> <= cols; c += kBlock<T>) {
      // From the last rows to the first: a block that reaches past kRows spills into the next
      // column, which is written after it.
      for (std::size_t r = kLast + kBlock<T>; r > 0; r -= kBlock<T>) {
        hn::Vec<decltype(d)> v[kBlock<T>];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kBlock<T>; ++i)
          v[i] = hn::LoadU(d, rows[std::min(r - kBlock<T> + i, kRows - 1)] + c);
        TransposeBlocks(d, v);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kBlock<T>; ++i)
          hn::StoreU(v[i], d, to + (c + i) * kRows + r - kBlock<T>);
      }
    }
  }
#endif
  for (; c < cols; ++c) {
    for (std::size_t r = 0; r < kRows; ++r) to[c * kRows + r] = Element(rows[r] + c);
  }
}

// to[p][r][kWidth] = columns p * kWidth ... of row r, for `panels` panels that are `panel_stride`
// apart; columns past `cols` are 0. Returns whether all that was read is finite.
template <typename T>
HWY_NOINLINE bool PackPanels(const T* const* rows, std::size_t n, std::size_t cols,
                             std::size_t panel_stride, T* HWY_RESTRICT to) {
  const Tag<T> d;
  auto seen = hn::Zero(d);
  const std::size_t full = cols / kWidth<T>, tail = cols % kWidth<T>;
  for (std::size_t r = 0; r < n; ++r) {
    const T* HWY_RESTRICT row = rows[r];
    T* HWY_RESTRICT at = to + r * kWidth<T>;
    for (std::size_t p = 0; p < full; ++p, at += panel_stride, row += kWidth<T>) {
      const auto x0 = hn::LoadU(d, row), x1 = hn::LoadU(d, row + kLanes<T>);
      hn::Store(x0, d, at);
      hn::Store(x1, d, at + kLanes<T>);
      seen = See<T>(See<T>(seen, x0), x1);
    }
    if (tail != 0) {
      for (std::size_t c = 0; c < tail; ++c) at[c] = row[c];
      for (std::size_t c = tail; c < kWidth<T>; ++c) at[c] = T{0};
      seen = See<T>(See<T>(seen, hn::Load(d, at)), hn::Load(d, at + kLanes<T>));
    }
  }
  return AllFinite<T>(seen);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
