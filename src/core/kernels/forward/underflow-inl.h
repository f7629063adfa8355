// SPDX-License-Identifier: Apache-2.0
// Weights that are 0 because their scores are low, and not because something hides the pair. Where
// masks and stages are, products leave out what has weight 0: of visible pairs, whose values may be
// NaN or infinite, that is made up for here. 0 times either is NaN.

#if defined(REGARD_KERNELS_UNDERFLOW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_UNDERFLOW_INL_H_
#undef REGARD_KERNELS_UNDERFLOW_INL_H_
#else
#define REGARD_KERNELS_UNDERFLOW_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/tile/panels-inl.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The weights of a group of rows and a chunk of keys: [use][kRows][kWidth], as are scores and, with
// a word a row, the words of partial panels. Scores are null where no stage can hide a pair.
template <class Ops>
struct WeighedChunk {
  using T = typename Ops::T;
  const PanelUse* uses;
  std::size_t count, rows;
  const typename Ops::Packed* weights;
  const std::uint64_t* words;
  const T* scores;
  std::int64_t begin, end;  // keys

  bool IsNothing(std::size_t u, std::size_t r, std::size_t lane) const {
    const std::size_t row = u * kRows + r;
    const auto* own =
        reinterpret_cast<const typename Ops::Element*>(weights + row * (kWidth<T> / Ops::kPair));
    return own[lane] == typename Ops::Element{0};
  }
  bool IsSeen(std::size_t u, std::size_t r, std::size_t lane) const {
    const std::size_t row = u * kRows + r;
    if (uses[u].partial && (words[row] >> lane & 1) == 0) return false;
    return scores == nullptr ||
           scores[row * kWidth<T> + lane] != -std::numeric_limits<T>::infinity();
  }
};

// Rare, so it is small and not fast. `out`: the rows' sums, in panels of [kRows][kWidth]; `copy`
// has room for a row of values.
template <class Ops>
HWY_NOINLINE void SpreadNotFinite(const WeighedChunk<Ops>& chunk, const RowsView& values,
                                  std::size_t dim_v, typename Ops::T* HWY_RESTRICT copy,
                                  typename Ops::T* HWY_RESTRICT out) {
  using T = typename Ops::T;
  for (std::size_t u = 0; u < chunk.count; ++u) {
    const std::int64_t first =
        chunk.begin + static_cast<std::int64_t>(chunk.uses[u].panel * kWidth<T>);
    const auto lanes =
        static_cast<std::size_t>(std::min<std::int64_t>(kWidth<T>, chunk.end - first));
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      CopyRow(values, first + static_cast<std::int64_t>(lane), dim_v, copy);
      if (std::all_of(copy, copy + dim_v, [](T x) { return std::isfinite(x); })) continue;
      for (std::size_t r = 0; r < chunk.rows; ++r) {
        if (!chunk.IsNothing(u, r, lane) || !chunk.IsSeen(u, r, lane)) continue;
        for (std::size_t c = 0; c < dim_v; ++c) {
          T& sum = out[c / kWidth<T> * kRows * kWidth<T> + r * kWidth<T> + c % kWidth<T>];
          if (!std::isfinite(copy[c])) sum = std::numeric_limits<T>::quiet_NaN();
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
