// What the backward pass needs to know of a chunk's rows: their maxima and sums from the forward pass, and dlse - delta.

#if defined(REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#undef REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "core/kernels/backward_tile-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/exp-inl.h"
#include "core/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The tensors they come from, of one head; `d_lse` may have no base.
struct StatisticsHeads {
  Head maximum, log_sum, out, d_out, d_lse;
};

template <typename T>
class BackwardStatistics {
 public:
  void Take(Carve& carve, std::size_t queries) {
    queries_ = queries;
    maximum_ = carve.Take<T>(queries);
    inverse_sum_ = carve.Take<T>(queries);
    shift_ = carve.Take<T>(queries);
  }

  // Of all `n` rows of a chunk, from tensor row `first` on.
  void ReadMaxima(const Head& maximum, std::int64_t first, std::size_t n) {
    some_row_is_dead_ = false;
    std::fill_n(maximum_, queries_, T{0});
    for (std::size_t i = 0; i < n; ++i) {
      maximum_[i] = static_cast<const T*>(maximum.base)[maximum.At(first + static_cast<std::int64_t>(i))];
      some_row_is_dead_ |= maximum_[i] == -std::numeric_limits<T>::infinity();
    }
  }
  // A row that sees no key has no maximum and no gradient. The maxima, where there are such rows; else null.
  const T* dead_rows() const { return some_row_is_dead_ ? maximum_ : nullptr; }

  // The rest, of rows [at, at + n) of the chunk; `first` is the chunk's first tensor row. `row` and `other` have room for a row each.
  void Read(const StatisticsHeads& heads, std::int64_t first, std::size_t at, std::size_t n, std::size_t dim_v, T* row, T* other) {
    std::fill_n(inverse_sum_ + at, kWidth<T>, T{0});
    std::fill_n(shift_ + at, kWidth<T>, T{0});
    first += static_cast<std::int64_t>(at);
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t r = first + static_cast<std::int64_t>(i);
      inverse_sum_[at + i] = static_cast<const T*>(heads.log_sum.base)[heads.log_sum.At(r)];
      if (heads.d_lse.base != nullptr) shift_[at + i] = static_cast<const T*>(heads.d_lse.base)[heads.d_lse.At(r)];
    }
    ExpOfNegated(inverse_sum_ + at, n);  // the forward pass divided by the sum itself
    PrefetchRows(heads.out, first, n, dim_v);
    for (std::size_t i = 0; i < n; ++i) {
      shift_[at + i] -= RowProduct<T>(heads.out, heads.d_out, first + static_cast<std::int64_t>(i), dim_v, row, other);
    }
  }

  QueryLanes<T> lanes(std::size_t first) const { return {maximum_ + first, inverse_sum_ + first, shift_ + first}; }

 private:
  std::size_t queries_ = 0;
  T *maximum_ = nullptr, *inverse_sum_ = nullptr, *shift_ = nullptr;
  bool some_row_is_dead_ = false;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
