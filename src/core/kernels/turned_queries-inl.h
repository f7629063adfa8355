// dq where a matrix unit multiplies: the unit wants dS as it lies, a step of keys a column, so that the keys are what is turned, and dq^T =
// K^T dS^T gathers turned. It is turned back once, when all keys of a block have come.

#if defined(REGARD_KERNELS_TURNED_QUERIES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TURNED_QUERIES_INL_H_
#undef REGARD_KERNELS_TURNED_QUERIES_INL_H_
#else
#define REGARD_KERNELS_TURNED_QUERIES_INL_H_
#endif

#include <algorithm>

#include "core/kernels/backward_tiles-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/gradient_sums-inl.h"
#include "core/kernels/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Ops>
class TurnedQueries {
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr std::size_t kStep = Ops::kStep, kGroupPairs = kRows / Ops::kPair;
  static constexpr std::size_t kQueries = static_cast<std::size_t>(kQueryChunk);

 public:
  void Take(Carve& carve, std::size_t dim) {
    dim_ = dim;
    sums_ = carve.Take<T>(kQueries * RoundUp(dim, kStep));
  }

  // Zeros in dS, [pair of keys][query], where a query panel has no tile; `groups` tiles are there, or would be.
  static void ClearAbsent(const TileState* states, std::size_t groups, Packed* HWY_RESTRICT d_scores) {
    const std::size_t padded = RoundUp(groups * kGroupPairs, kStep);
    for (std::size_t pair = 0; pair < padded; ++pair) {
      if (pair / kGroupPairs < groups && states[pair / kGroupPairs] != TileState::kAbsent) continue;
      Clear(d_scores + pair * kQueries, kWidth<T>);
    }
  }

  // What the keys of a sub-block, turned, add to query panel p of the chunk.
  void Add(const Packed* turned_keys, const Packed* d_scores, std::size_t groups, std::size_t p, bool add, bool select) {
    const std::size_t rows = RoundUp(dim_, kStep), steps = RoundUp(groups * kGroupPairs, kStep) / kStep;
    for (std::size_t at = 0; at < rows; at += kStep) {
      for (std::size_t lane = 0; lane < kWidth<T>; lane += kStep) {
        T* sums = sums_ + (p * rows + at) * kWidth<T> + lane;
        const Columns<Packed> columns{d_scores + p * kWidth<T> + lane, static_cast<std::int64_t>(kQueries)};
        if (HWY_UNLIKELY(select)) {
          AddSelecting(turned_keys + at * kStep, rows * kStep, columns, steps, add, sums);
        } else {
          Ops::MultiplySquare(turned_keys + at * kStep, rows * kStep, columns, steps, add, sums);
        }
      }
    }
  }

  // Query panel p of the sums, [query][kWidth] a panel of dims, `panel_step` apart.
  void TurnBack(std::size_t p, const T* zeros, T* HWY_RESTRICT to, std::size_t panel_step) const {
    const std::size_t rows = RoundUp(dim_, kStep);
    for (std::size_t c = 0; c < rows; c += kWidth<T>, to += panel_step) {
      const T* pointers[kWidth<T>];
      for (std::size_t r = 0; r < kWidth<T>; ++r) pointers[r] = c + r < rows ? sums_ + (p * rows + c + r) * kWidth<T> : zeros;
      for (std::size_t run = 0; run * Ops::kRun < kWidth<T>; ++run) {
        PackLanes(pointers, Ops::kRun, T{1}, to + (p * kWidth<T> + Ops::QueryOfRun(run)) * kWidth<T>);
        for (std::size_t r = 0; r < kWidth<T> && c + r < rows; ++r) pointers[r] += Ops::kRun;
      }
    }
  }

 private:
  // Query by query, where keys may hold NaN or infinity in what a query does not see. Rare, so it is small and not fast.
  static HWY_NOINLINE void AddSelecting(const Packed* keys, std::size_t row_step, Columns<Packed> columns, std::size_t steps, bool add,
                                        T* HWY_RESTRICT sums) {
    HWY_ALIGN Packed selected[kStep * kStep], column[kStep];
    HWY_ALIGN T tile[kStep * kWidth<T>], result[kStep * kStep];
    for (std::size_t query = 0; query < kStep; ++query) {
      for (std::size_t r = 0; r < kStep; ++r) {
        for (std::size_t i = 0; i < kStep; ++i) tile[r * kWidth<T> + i] = add ? sums[r * kWidth<T> + i] : T{0};
      }
      for (std::size_t s = 0; s < steps; ++s) {
        for (std::size_t i = 0; i < kStep; ++i) column[i] = Ops::NotZero(columns.from(s * kStep + i).data[query]);
        for (std::size_t at = 0; at < kStep * kStep; ++at) selected[at] = keys[s * row_step + at] & column[at % kStep];
        Ops::MultiplySquare(selected, 0, columns.from(s * kStep), 1, true, tile);
      }
      for (std::size_t r = 0; r < kStep; ++r) result[r * kStep + query] = tile[r * kWidth<T> + query];
    }
    for (std::size_t at = 0; at < kStep * kStep; ++at) sums[at / kStep * kWidth<T> + at % kStep] = result[at];
  }

  std::size_t dim_ = 0;
  T* sums_ = nullptr;  // [query panel][dim][kWidth]
};

// Nothing where there is no such unit.
template <class Ops, bool kMatrixUnit = Ops::kMatrixUnit>
struct TurnedQueriesOf {
  struct Type {};
};
template <class Ops>
struct TurnedQueriesOf<Ops, true> {
  using Type = TurnedQueries<Ops>;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
