// SPDX-License-Identifier: Apache-2.0
// The accumulators of a tile: M rows by V vectors.

#if defined(REGARD_KERNELS_ACC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ACC_INL_H_
#undef REGARD_KERNELS_ACC_INL_H_
#else
#define REGARD_KERNELS_ACC_INL_H_
#endif

#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The accumulators of one tile. A plain aggregate of vectors, so that the compiler keeps it in
// registers; a matrix unit writes kRows rows to it where it lies.
template <class Ops, std::size_t M, std::size_t V>
struct Acc {
  static constexpr std::size_t kVectors = V;
  hn::Vec<typename Ops::D> v[Ops::kMatrixUnit ? kRows : M][V];
};

template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void ZeroAcc(Acc<Ops, M, V>& acc) {
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v) acc.v[r][v] = hn::Zero(typename Ops::D());
  }
}

// Tiles of sums lie as [row][kWidth].
template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void LoadAcc(const typename Ops::T* HWY_RESTRICT from, Acc<Ops, M, V>& acc) {
  using T = typename Ops::T;
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v)
      acc.v[r][v] = hn::Load(Tag<T>(), from + r * kWidth<T> + v * kLanes<T>);
  }
}

template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void AddAcc(const typename Ops::T* HWY_RESTRICT from, Acc<Ops, M, V>& acc) {
  using T = typename Ops::T;
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v)
      acc.v[r][v] =
          hn::Add(acc.v[r][v], hn::Load(typename Ops::D(), from + r * kWidth<T> + v * kLanes<T>));
  }
}

template <class Ops, std::size_t M, std::size_t V>
HWY_INLINE void StoreAcc(const Acc<Ops, M, V>& acc, typename Ops::T* HWY_RESTRICT to) {
  using T = typename Ops::T;
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v)
      hn::Store(acc.v[r][v], typename Ops::D(), to + r * kWidth<T> + v * kLanes<T>);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
