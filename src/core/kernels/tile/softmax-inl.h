// SPDX-License-Identifier: Apache-2.0
// Online softmax over the keys of one group of rows.
//
// Each row keeps a maximum (in natural units), found in the first panel of keys in which the row
// sees anything, and the sum of its weights, one partial sum per lane. The maximum stays as it is
// until the row's own sum passes kSumBound: then the chunk of keys at hand is done again with a
// maximum that covers it, and what was accumulated before is scaled down. Everything is decided row
// by row from what that row sees, so that a row's bits never depend on the rows that share its
// tile.

#if defined(REGARD_KERNELS_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SOFTMAX_INL_H_
#undef REGARD_KERNELS_SOFTMAX_INL_H_
#else
#define REGARD_KERNELS_SOFTMAX_INL_H_
#endif

#include <cstring>
#include <limits>

#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// A lane's sum that calls for a new maximum. Far above what a right maximum can give (one per key),
// far below overflow; and below 1e12, so that a row in which one key weighs all but 1e-12 has that
// key's score as its maximum: its output is then that key's value to the bit, and the gradients of
// its scores are 0.
inline constexpr double kSumBound = 549755813888.0;  // 2^39

template <typename T>
inline constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

// The lanes of a row that are visible, from bit `lane` of its word.
template <typename T>
HWY_INLINE MaskOf<T> VisibleLanes(std::uint64_t word, std::size_t lane) {
  const std::uint64_t bits = word >> lane;
  std::uint8_t bytes[8];
  std::memcpy(bytes, &bits, 8);
  return hn::LoadMaskBits(Tag<T>(), bytes);
}

// Where the weights of one panel of keys go, and what they are made with.
template <class Ops>
struct Weighing {
  using T = typename Ops::T;
  T score_factor;
  const T* HWY_RESTRICT maxima;
  const std::uint64_t* HWY_RESTRICT words;  // of visible lanes, where the panel is partial
  T* HWY_RESTRICT sums;
  typename Ops::Packed* HWY_RESTRICT weights;
  std::size_t lane = 0;  // where one vector of the panel is all that rows see: its first lane
};

// Sums and stores the weights of one row r.
template <class Ops, std::size_t V>
HWY_INLINE void KeepWeights(const Vec<typename Ops::T>* w, const Weighing<Ops>& to, std::size_t r) {
  using T = typename Ops::T;
  const Tag<T> d;
  T* HWY_RESTRICT sum = to.sums + r * kLanes<T>;
  auto* HWY_RESTRICT weights = to.weights + r * (kWidth<T> / Ops::kPair);
  if constexpr (V == 2) {
    hn::Store(hn::Add(hn::Load(d, sum), hn::Add(w[0], w[1])), d, sum);
    Ops::StoreRow(w[0], w[1], weights);
  } else {
    hn::Store(hn::Add(hn::Load(d, sum), w[0]), d, sum);
    Ops::StoreHalfRow(w[0], to.lane, weights);
  }
}

// Products of one row r, V vectors of them -> weights.
template <class Ops, std::size_t V, bool kPartial>
HWY_INLINE void WeighProducts(const Vec<typename Ops::T>* products, const Weighing<Ops>& to,
                              std::size_t r) {
  using T = typename Ops::T;
  const auto m = hn::Set(Tag<T>(), to.maxima[r]);
  const auto end = NoShift<T>();
  Vec<T> w[V];
#pragma GCC unroll 2
  for (std::size_t v = 0; v < V; ++v) {
    w[v] = Ops::Weight(products[v], to.score_factor, m, end);
    if constexpr (kPartial)
      w[v] = hn::IfThenElseZero(VisibleLanes<T>(to.words[r], to.lane + v * kLanes<T>), w[v]);
  }
  KeepWeights<Ops, V>(w, to, r);
}

// Scores of M rows, `stride` apart, and one panel of keys, or one vector of it, -> weights,
// straight from the accumulators. (Rows as a pointer and a number come in registers: products begin
// with them.)
template <class Ops, std::size_t M, std::size_t V, bool kPartial>
HWY_NOINLINE void WeighPanel(const typename Ops::Packed* HWY_RESTRICT q, std::int64_t stride,
                             const typename Ops::Packed* HWY_RESTRICT k, std::size_t inner,
                             const Weighing<Ops>& to) {
  Acc<Ops, M, V> acc;
  AccumulateScores(Rows<typename Ops::Packed>{q, stride}, V == 2 ? k : k + to.lane, inner, acc);
  const Weighing<Ops> own = to;
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) WeighProducts<Ops, V, kPartial>(acc.v[r], own, r);
}

// The greatest of one row's scores. NaN wherever there is one, so that a row that attends to NaN
// says so.
template <std::size_t V, typename T>
HWY_INLINE Vec<T> MaximumOf(const Vec<T>* scores) {
  const Tag<T> d;
  const auto maximum = hn::MaxOfLanes(d, hn::Max(scores[0], scores[V - 1]));
  const auto nan = hn::Or(hn::IsNaN(scores[0]), hn::IsNaN(scores[V - 1]));
  return hn::AllFalse(d, nan) ? maximum : hn::Set(d, std::numeric_limits<T>::quiet_NaN());
}

// Products of one row r where it has no maximum: it takes that of what it sees here. Where
// `partial`, words say what it sees.
template <class Ops, std::size_t V>
HWY_INLINE void WeighFirstProducts(const Vec<typename Ops::T>* products, const Weighing<Ops>& to,
                                   bool partial, std::size_t r,
                                   typename Ops::T* HWY_RESTRICT maximum) {
  using T = typename Ops::T;
  const Tag<T> d;
  const auto hidden = hn::Set(d, kMinusInfinity<T>);
  Vec<T> scores[V], w[V];
#pragma GCC unroll 2
  for (std::size_t v = 0; v < V; ++v) {
    scores[v] = Ops::ScoreOf(products[v], to.score_factor);
    if (partial)
      scores[v] =
          hn::IfThenElse(VisibleLanes<T>(to.words[r], to.lane + v * kLanes<T>), scores[v], hidden);
  }
  const auto greatest = MaximumOf<V, T>(scores);
  *maximum = hn::GetLane(greatest);
  const auto m = hn::IfThenZeroElse(hn::Eq(greatest, hidden), greatest);
#pragma GCC unroll 2
  for (std::size_t v = 0; v < V; ++v) w[v] = Exp<T>(hn::Sub(scores[v], m));
  KeepWeights<Ops, V>(w, to, r);
}

// WeighPanel where some rows have no maximum. `maxima` are those of `to`. Rare beside the others:
// rows go through one loop, so that its code takes little room.
template <class Ops, std::size_t M, std::size_t V>
HWY_NOINLINE void WeighFirstPanel(Rows<typename Ops::Packed> q,
                                  const typename Ops::Packed* HWY_RESTRICT k, std::size_t inner,
                                  const Weighing<Ops>& to, bool partial, typename Ops::T* maxima) {
  using T = typename Ops::T;
  HWY_ALIGN T products[M * kWidth<T>];
  {
    Acc<Ops, M, V> acc;
    AccumulateScores(q, k + to.lane, inner, acc);
    StoreAcc(acc, products);
  }
  const Weighing<Ops> own = to;
#pragma GCC unroll 1
  for (std::size_t r = 0; r < M; ++r) {
    Vec<T> row[V];
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v)
      row[v] = hn::Load(Tag<T>(), products + r * kWidth<T> + v * kLanes<T>);
    if (maxima[r] == kMinusInfinity<T>) {
      WeighFirstProducts<Ops, V>(row, own, partial, r, maxima + r);
    } else if (partial) {
      WeighProducts<Ops, V, true>(row, own, r);
    } else {
      WeighProducts<Ops, V, false>(row, own, r);
    }
  }
}

// WeighPanel from a matrix unit's products, in memory.
template <class Ops, bool kPartial>
HWY_NOINLINE void WeighTile(const typename Ops::T* HWY_RESTRICT products, std::size_t rows,
                            const Weighing<Ops>& to) {
  using T = typename Ops::T;
  HWY_ALIGN T maxima[kRows];
  for (std::size_t r = 0; r < kRows; ++r)
    maxima[r] = to.maxima[r] == kMinusInfinity<T> ? T{0} : to.maxima[r];
  const Weighing<Ops> own{to.score_factor, maxima, to.words, to.sums, to.weights};
  for (std::size_t r = 0; r < rows; ++r) {
    const Vec<T> row[2] = {hn::Load(Tag<T>(), products + r * kWidth<T>),
                           hn::Load(Tag<T>(), products + r * kWidth<T> + kLanes<T>)};
    WeighProducts<Ops, 2, kPartial>(row, own, r);
  }
}

// Scores of M rows and one panel of keys, as they are.
template <class Ops, std::size_t M>
HWY_NOINLINE void ScorePanel(Rows<typename Ops::Packed> q,
                             const typename Ops::Packed* HWY_RESTRICT k, std::size_t inner,
                             typename Ops::T score_factor, typename Ops::T* HWY_RESTRICT scores) {
  Acc<Ops, M, 2> acc;
  AccumulateScores(q, k, inner, acc);
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < 2; ++v) acc.v[r][v] = Ops::ScoreOf(acc.v[r][v], score_factor);
  }
  StoreAcc(acc, scores);
}

// Writes -infinity over the scores of a panel that a row does not see.
template <typename T>
HWY_INLINE void HideScores(std::size_t rows, const std::uint64_t* HWY_RESTRICT words,
                           T* HWY_RESTRICT scores) {
  const Tag<T> d;
  for (std::size_t r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
      T* HWY_RESTRICT at = scores + r * kWidth<T> + lane;
      hn::Store(hn::IfThenElse(VisibleLanes<T>(words[r], lane), hn::Load(d, at),
                               hn::Set(d, kMinusInfinity<T>)),
                d, at);
    }
  }
}

// The maximum of one row of one panel.
template <typename T>
HWY_INLINE T RowMaximum(const T* HWY_RESTRICT scores) {
  const Vec<T> row[2] = {hn::Load(Tag<T>(), scores), hn::Load(Tag<T>(), scores + kLanes<T>)};
  return hn::GetLane(MaximumOf<2, T>(row));
}

// The same of a matrix unit's products; `word` says which lanes the row sees, where it does not see
// all.
template <class Ops>
HWY_NOINLINE typename Ops::T MaximumOfProducts(const typename Ops::T* HWY_RESTRICT products,
                                               typename Ops::T factor, const std::uint64_t* word) {
  using T = typename Ops::T;
  HWY_ALIGN T row[kWidth<T>];
  for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
    hn::Store(Ops::ScoreOf(hn::Load(Tag<T>(), products + lane), factor), Tag<T>(), row + lane);
  }
  if (word != nullptr) HideScores(1, word, row);
  return RowMaximum(row);
}

// Scores of one row of one panel -> weights; -infinity gives 0. A row that has seen nothing yet
// (maximum -infinity) gets zeros. `factors`, where given, multiply weights after they were summed.
template <class Ops>
HWY_INLINE void WeighRow(const typename Ops::T* HWY_RESTRICT scores, typename Ops::T maximum,
                         typename Ops::T* HWY_RESTRICT sum,
                         typename Ops::Packed* HWY_RESTRICT weights,
                         const typename Ops::T* HWY_RESTRICT factors = nullptr) {
  using T = typename Ops::T;
  const Tag<T> d;
  const auto m = hn::Set(d, maximum == kMinusInfinity<T> ? T{0} : maximum);
  const auto w0 = Exp<T>(hn::Sub(hn::Load(d, scores), m));
  const auto w1 = Exp<T>(hn::Sub(hn::Load(d, scores + kLanes<T>), m));
  hn::Store(hn::Add(hn::Load(d, sum), hn::Add(w0, w1)), d, sum);
  if (factors == nullptr) {
    Ops::StoreRow(w0, w1, weights);
  } else {  // what is hidden stays 0 beside any factor
    const auto zero = hn::Zero(d);
    Ops::StoreRow(
        hn::IfThenZeroElse(hn::Eq(w0, zero), hn::Mul(w0, hn::Load(d, factors))),
        hn::IfThenZeroElse(hn::Eq(w1, zero), hn::Mul(w1, hn::Load(d, factors + kLanes<T>))),
        weights);
  }
}

// sums += chunk, for some rows. Sums of a chunk are kept apart until it ends: a long sum rounds
// less in pieces.
template <typename T>
HWY_INLINE void AddSums(const T* HWY_RESTRICT chunk, std::size_t rows, T* HWY_RESTRICT sums) {
  const Tag<T> d;
  for (std::size_t at = 0; at < rows * kLanes<T>; at += kLanes<T>)
    hn::Store(hn::Add(hn::Load(d, sums + at), hn::Load(d, chunk + at)), d, sums + at);
}

// Whether a row without a maximum sees something in a panel; `words` are null where all rows see
// all of it.
template <typename T>
HWY_INLINE bool SomeRowStarts(std::size_t rows, const T* maxima, const std::uint64_t* words) {
  for (std::size_t r = 0; r < rows; ++r) {
    if (maxima[r] == kMinusInfinity<T> && (words == nullptr || words[r] != 0)) return true;
  }
  return false;
}

// Whether a row's sum has outgrown its maximum with this chunk. NaN has not: no other maximum would
// mend it.
template <typename T>
HWY_INLINE bool SumTooLarge(const T* HWY_RESTRICT before, const T* HWY_RESTRICT chunk) {
  const Tag<T> d;
  return !hn::AllFalse(d, hn::Gt(hn::Add(hn::Load(d, before), hn::Load(d, chunk)),
                                 hn::Set(d, static_cast<T>(kSumBound))));
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
