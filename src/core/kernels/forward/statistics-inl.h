// SPDX-License-Identifier: Apache-2.0
// The statistics of rows that the forward pass writes: maxima, logarithms of their sums, and both
// together.

#if defined(REGARD_KERNELS_FORWARD_STATISTICS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_FORWARD_STATISTICS_INL_H_
#undef REGARD_KERNELS_FORWARD_STATISTICS_INL_H_
#else
#define REGARD_KERNELS_FORWARD_STATISTICS_INL_H_
#endif

#include "core/kernels/tile/rows-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where they are written, of one head; each may have no base.
struct WrittenStatistics {
  RowsView maximum, log_sum, lse;

  bool wanted() const {
    return maximum.base != nullptr || log_sum.base != nullptr || lse.base != nullptr;
  }
};

// Of `n` rows from row of the sequence `first` on. `sums` and `logs` have room for whole vectors.
template <typename T>
HWY_INLINE void WriteStatistics(const WrittenStatistics& to, std::int64_t first, std::size_t n,
                                const T* HWY_RESTRICT maxima, const T* HWY_RESTRICT sums,
                                T* HWY_RESTRICT logs) {
  const Tag<T> d;
  for (std::size_t r = 0; r < n; r += kLanes<T>) {
    const auto sum = hn::Load(d, sums + r);
    hn::Store(hn::IfThenElse(hn::IsNaN(sum), sum, hn::Log(d, sum)), d, logs + r);
  }
  const auto put = [](const RowsView& head, std::int64_t i, T x) {
    if (head.base != nullptr) static_cast<T*>(const_cast<void*>(head.base))[head.At(i)] = x;
  };
  for (std::size_t r = 0; r < n; ++r) {
    const std::int64_t i = first + static_cast<std::int64_t>(r);
    put(to.maximum, i, maxima[r]);
    put(to.log_sum, i, logs[r]);
    put(to.lse, i, maxima[r] + logs[r]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
