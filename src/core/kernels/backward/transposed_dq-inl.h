// SPDX-License-Identifier: Apache-2.0
// dq where a matrix unit multiplies. AMX takes dS untransposed, a step of keys a column: K is
// transposed, dq^T = K^T dS^T is accumulated, and it is transposed once per block.

#if defined(REGARD_KERNELS_TRANSPOSED_DQ_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_TRANSPOSED_DQ_INL_H_
#undef REGARD_KERNELS_TRANSPOSED_DQ_INL_H_
#else
#define REGARD_KERNELS_TRANSPOSED_DQ_INL_H_
#endif

#include <algorithm>

#include "core/kernels/backward/backward_tiles-inl.h"
#include "core/kernels/backward/gradient_sums-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/tile/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Ops>
class TransposedDq {
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr std::size_t kStep = Ops::kStep, kGroupPairs = kRows / Ops::kPair;
  static constexpr std::size_t kQueries = static_cast<std::size_t>(kQueryChunk);

 public:
  void Take(Carve& carve, std::size_t dim) {
    dim_ = dim;
    sums_ = carve.Take<T>(kQueries * RoundUp(dim, kStep));
  }

  // What the transposed keys of a sub-block of `groups` add to the chunk's queries, by the tiles
  // that are there. dS lies as [pair of keys][query].
  void Add(const Packed* transposed_keys, Packed* d_scores, const BackwardTiles<T>& tiles,
           std::size_t groups, bool select, QuerySums<Ops>* dq) {
    for (std::size_t p = 0; p * kWidth<T> < kQueries; ++p, d_scores += kWidth<T>) {
      const plan::Seen* states = tiles.states[p];
      if (std::all_of(states, states + groups,
                      [](plan::Seen s) { return s == plan::Seen::kAbsent; }))
        continue;
      ClearAbsent(states, groups, d_scores);
      AddPanel(transposed_keys, {d_scores, static_cast<std::int64_t>(kQueries)},
               RoundUp(groups * kGroupPairs, kStep) / kStep, p, dq->state(p) == SumState::kSummed,
               select);
      dq->MarkAdded(p);
    }
  }

  // Gives the sums to `dq`, row by row.
  void TransposeBack(const QuerySums<Ops>& dq, const T* zeros) const {
    const std::size_t rows = RoundUp(dim_, kStep);
    for (std::size_t p = 0; p * kWidth<T> < kQueries; ++p) {
      if (dq.state(p) != SumState::kSummed) continue;
      for (std::size_t c = 0; c < rows; c += kWidth<T>) {
        const T* pointers[kWidth<T>];
        for (std::size_t r = 0; r < kWidth<T>; ++r)
          pointers[r] = c + r < rows ? sums_ + (p * rows + c + r) * kWidth<T> : zeros;
        for (std::size_t run = 0; run * Ops::kRun < kWidth<T>; ++run) {
          PackLanes(pointers, kWidth<T>, Ops::kRun, T{1},
                    dq.Row(p * kWidth<T> + Ops::QueryOfRun(run)) + c / kWidth<T> * dq.panel_step());
          for (std::size_t r = 0; r < kWidth<T> && c + r < rows; ++r) pointers[r] += Ops::kRun;
        }
      }
    }
  }

 private:
  void AddPanel(const Packed* keys, Columns<Packed> d_scores, std::size_t steps, std::size_t p,
                bool add, bool select) {
    const std::size_t rows = RoundUp(dim_, kStep), step = rows * kStep;
    for (std::size_t at = 0; at < rows; at += kStep, keys += kStep * kStep) {
      T* sums = sums_ + (p * rows + at) * kWidth<T>;
      for (std::size_t lane = 0; lane < kWidth<T>; lane += kStep) {
        const Columns<Packed> columns{d_scores.data + lane, d_scores.stride};
        if (HWY_UNLIKELY(select)) {
          AddSelecting(keys, step, columns, steps, add, sums + lane);
        } else {
          Ops::MultiplySquare(keys, step, columns, steps, add, sums + lane);
        }
      }
    }
  }

  // Zeros where a query panel has no tile.
  static void ClearAbsent(const plan::Seen* states, std::size_t groups,
                          Packed* HWY_RESTRICT d_scores) {
    const std::size_t padded = RoundUp(groups * kGroupPairs, kStep);
    for (std::size_t pair = 0; pair < padded; ++pair) {
      if (pair / kGroupPairs < groups && states[pair / kGroupPairs] != plan::Seen::kAbsent)
        continue;
      Clear(d_scores + pair * kQueries, kWidth<T>);
    }
  }

  // Query by query, where keys may hold NaN or infinity in what a query does not see. Rare, so it
  // is small and not fast.
  static HWY_NOINLINE void AddSelecting(const Packed* keys, std::size_t row_step,
                                        Columns<Packed> columns, std::size_t steps, bool add,
                                        T* HWY_RESTRICT sums) {
    HWY_ALIGN Packed selected[kStep * kStep], column[kStep];
    HWY_ALIGN T tile[kStep * kWidth<T>], result[kStep * kStep];
    for (std::size_t query = 0; query < kStep; ++query) {
      for (std::size_t r = 0; r < kStep; ++r) {
        for (std::size_t i = 0; i < kStep; ++i)
          tile[r * kWidth<T> + i] = add ? sums[r * kWidth<T> + i] : T{0};
      }
      for (std::size_t s = 0; s < steps; ++s) {
        for (std::size_t i = 0; i < kStep; ++i)
          column[i] = Ops::NotZero(columns.from(s * kStep + i).data[query]);
        for (std::size_t at = 0; at < kStep * kStep; ++at)
          selected[at] = keys[s * row_step + at] & column[at % kStep];
        Ops::MultiplySquare(selected, 0, columns.from(s * kStep), 1, true, tile);
      }
      for (std::size_t r = 0; r < kStep; ++r)
        result[r * kStep + query] = tile[r * kWidth<T> + query];
    }
    for (std::size_t at = 0; at < kStep * kStep; ++at)
      sums[at / kStep * kWidth<T> + at % kStep] = result[at];
  }

  std::size_t dim_ = 0;
  T* sums_ = nullptr;  // [query panel][dim][kWidth]
};

// A member that only some Ops or scores need; others have this instead.
struct Nothing {
  template <class... Arguments>
  void Take(Arguments&&...) {}
  template <class... Arguments>
  void Start(Arguments&&...) {}
  template <class... Arguments>
  void TransposeBack(Arguments&&...) {}
  template <class... Arguments>
  void Write(Arguments&&...) const {}
  void ExpectLast(bool) {}
  void Finish() {}
};
template <bool kNeeded, template <class> class Member, class Ops>
struct MemberOf {
  using Type = Nothing;
};
template <template <class> class Member, class Ops>
struct MemberOf<true, Member, Ops> {
  using Type = Member<Ops>;
};
template <bool kNeeded, template <class> class Member, class Ops>
using OnlyWhere = typename MemberOf<kNeeded, Member, Ops>::Type;

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
