// The statistics of a chunk's rows, as the backward pass reads them: maxima, 1 / sum of
// exponentials and dlse - delta.

#if defined(REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#undef REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_STATISTICS_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "core/kernels/backward/backward_tile-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where they lie, and what dlse - delta comes from; `d_lse` may have no base.
struct ReadStatistics {
  RowsView log_sum, out, d_out, d_lse;
};

// Of a chunk's rows in the backward pass.
template <class Ops>
class BackwardStatistics {
  using T = typename Ops::T;

 public:
  void Take(Carve& carve, std::size_t queries) {
    queries_ = queries;
    maximum_ = carve.Take<T>(queries);
    inverse_sum_ = carve.Take<T>(queries);
    shift_ = carve.Take<T>(queries);
  }

  // Asks for those of rows [first, end), which mostly lie side by side.
  static void Prefetch(const RowsView& maximum, const RowsView& log_sum, std::int64_t first,
                       std::int64_t end) {
    for (std::int64_t i = first; i < end; i += 64 / sizeof(T)) {
      PrefetchRow<false>(maximum, i, 1);
      PrefetchRow<false>(log_sum, i, 1);
    }
  }
  // Of all `n` rows of a chunk, from row of the sequence `first` on.
  void ReadMaxima(const RowsView& maximum, std::int64_t first, std::size_t n) {
    some_row_is_dead_ = false;
    Clear(maximum_, queries_);
    for (std::size_t i = 0; i < n; ++i) {
      maximum_[i] =
          static_cast<const T*>(maximum.base)[maximum.At(first + static_cast<std::int64_t>(i))];
      some_row_is_dead_ |= maximum_[i] == -std::numeric_limits<T>::infinity();
    }
  }
  // A row that sees no key has no maximum and no gradient. The maxima, where there are such rows;
  // else null.
  const T* dead_rows() const { return some_row_is_dead_ ? maximum_ : nullptr; }

  // The rest, of rows [at, at + n) of the chunk; `first` is the chunk's first row of the sequence.
  void Read(const ReadStatistics& heads, std::int64_t first, std::size_t at, std::size_t n,
            std::size_t dim_v, const RowScratch<T>& scratch) {
    Clear(inverse_sum_ + at, kWidth<T>);
    Clear(shift_ + at, kWidth<T>);
    first += static_cast<std::int64_t>(at);
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t r = first + static_cast<std::int64_t>(i);
      inverse_sum_[at + i] = static_cast<const T*>(heads.log_sum.base)[heads.log_sum.At(r)];
      if (heads.d_lse.base != nullptr)
        shift_[at + i] = static_cast<const T*>(heads.d_lse.base)[heads.d_lse.At(r)];
    }
    ExpOfNegated(inverse_sum_ + at, n);  // the forward pass divided by the sum itself
    PrefetchRows(heads.out, first, static_cast<std::int64_t>(n), dim_v);
    Ops::SubtractRowProducts(heads.out, heads.d_out, first, n, dim_v, scratch, shift_ + at);
  }

  QueryLanes<T> lanes(std::size_t first) const {
    return {maximum_ + first, inverse_sum_ + first, shift_ + first};
  }

 private:
  std::size_t queries_ = 0;
  T *maximum_ = nullptr, *inverse_sum_ = nullptr, *shift_ = nullptr;
  bool some_row_is_dead_ = false;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
