// SPDX-License-Identifier: Apache-2.0
// One tile of the backward pass, keys as rows and queries as lanes: weights P again from the saved
// statistics, then dS = P (dP - delta + dlse).

#if defined(REGARD_KERNELS_BACKWARD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_TILE_INL_H_
#undef REGARD_KERNELS_BACKWARD_TILE_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_TILE_INL_H_
#endif

#include <limits>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/stages/stages-inl.h"
#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
using Unsigned = hwy::MakeUnsigned<T>;

// What a tile needs of its queries, one element a lane. P = e^(s - maximum) / sum is factor
// times what Exp() makes of the two ends: the division's power of two is in the exponential, so
// that P is a normal number or 0.
template <typename T>
struct QueryLanes {
  const T *maximum, *least, *magic, *factor;
  const T* shift;  // dlse - delta

  HWY_INLINE ExpEnd<Vec<T>> end(std::size_t lane) const {
    return {hn::Load(Tag<T>(), least + lane), hn::Load(Tag<T>(), magic + lane)};
  }
};

template <class Ops>
struct BackwardTile {
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;

  Rows<Packed> keys, values;
  const Packed *queries, *d_outs;  // [inner][kWidth]
  std::size_t inner, inner_v;
  Rows<Packed> d_out_rows;  // instead of d_outs, where the score multiplies pair by pair
  T score_factor;
  QueryLanes<T> lanes;
  const Unsigned<T>* words = nullptr;  // per lane, bit r: row r is visible; null: all are
  std::size_t lane = 0;       // the first of the vector in which queries that see something begin
  Packed* weights;            // P, rows kQueryChunk apart, for dv
  Packed* d_scores;           // dS, the same, for dk
  Packed* d_scores_by_query;  // dS for dq: pairs run along keys; the same memory where there are no
                              // pairs
};

// The visible lanes of row r.
template <typename T>
HWY_INLINE MaskOf<T> SeenBy(const Unsigned<T>* HWY_RESTRICT words, std::size_t r,
                            std::size_t lane) {
  const hn::RebindToUnsigned<Tag<T>> du;
  const auto bit = hn::Set(du, static_cast<Unsigned<T>>(Unsigned<T>{1} << r));
  return hn::RebindMask(Tag<T>(), hn::TestBit(hn::Load(du, words + lane), bit));
}

// Masks the padding lanes behind the first `lanes`, which hold no query, where a product sums over
// them too: a key that is not finite would make them NaN.
template <class Ops>
HWY_INLINE void HideBehind(std::size_t lanes, Unsigned<typename Ops::T>* HWY_RESTRICT words,
                           BackwardTile<Ops>* tile) {
  using Word = Unsigned<typename Ops::T>;
  if (tile->words != nullptr || lanes >= kWidth<typename Ops::T>) return;
  for (std::size_t i = 0; i < kWidth<typename Ops::T>; ++i)
    words[i] = i < lanes ? static_cast<Word>(~Word{0}) : Word{0};
  tile->words = words;
}

template <class Ops, std::size_t V>
HWY_INLINE void StoreVectors(const Vec<typename Ops::T>* x, std::size_t lane,
                             typename Ops::Packed* HWY_RESTRICT to) {
  if constexpr (V == 2) {
    Ops::StoreRow(x[0], x[1], to);
  } else {
    Ops::StoreHalfRow(x[0], lane, to);
  }
}

// M rows and V vectors of lanes, from tile.lane on: the others hold no key, or no query that sees
// one.
template <class Ops, std::size_t M, std::size_t V, bool kPartial>
HWY_NOINLINE void PlainBackwardTile(const BackwardTile<Ops>& tile) {
  using T = typename Ops::T;
  const Tag<T> d;
  const std::size_t first = V == 2 ? 0 : tile.lane;
  HWY_ALIGN T weights[M * kWidth<T>];
  {
    Acc<Ops, M, V> acc;
    AccumulateScores(tile.keys, tile.queries + first, tile.inner, acc);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
      for (std::size_t v = 0; v < V; ++v) {
        const std::size_t lane = first + v * kLanes<T>;
        auto p = Ops::Weight(acc.v[r][v], tile.score_factor, hn::Load(d, tile.lanes.maximum + lane),
                             tile.lanes.end(lane));
        p = hn::Mul(p, hn::Load(d, tile.lanes.factor + lane));
        if constexpr (kPartial) p = hn::IfThenElseZero(SeenBy<T>(tile.words, r, lane), p);
        hn::Store(p, d, weights + r * kWidth<T> + v * kLanes<T>);
        acc.v[r][v] = p;
      }
      StoreVectors<Ops, V>(acc.v[r], first, tile.weights + r * (kQueryChunk / Ops::kPair));
    }
  }
  Acc<Ops, M, V> acc;
  AccumulateScores(tile.values, tile.d_outs + first, tile.inner_v, acc);
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v) {
      const std::size_t lane = first + v * kLanes<T>;
      auto ds = hn::Mul(hn::Load(d, weights + r * kWidth<T> + v * kLanes<T>),
                        hn::Add(acc.v[r][v], hn::Load(d, tile.lanes.shift + lane)));
      if constexpr (kPartial) ds = hn::IfThenElseZero(SeenBy<T>(tile.words, r, lane), ds);
      acc.v[r][v] = ds;
    }
    StoreVectors<Ops, V>(acc.v[r], first, tile.d_scores + r * (kQueryChunk / Ops::kPair));
  }
  Ops::template StoreByQuery<M>(acc, first, tile.d_scores_by_query);
}

// The same for `rows` keys; `narrow`: one vector of lanes.
template <class Ops>
HWY_INLINE void RunPlainTile(const BackwardTile<Ops>& tile, std::size_t rows, bool narrow) {
  const bool partial = tile.words != nullptr;
  if (partial && narrow) {
    REGARD_FOR_ROWS(rows, (PlainBackwardTile<Ops, M, 1, true>(tile)));
  } else if (partial) {
    REGARD_FOR_ROWS(rows, (PlainBackwardTile<Ops, M, 2, true>(tile)));
  } else if (narrow) {
    REGARD_FOR_ROWS(rows, (PlainBackwardTile<Ops, M, 1, false>(tile)));
  } else {
    REGARD_FOR_ROWS(rows, (PlainBackwardTile<Ops, M, 2, false>(tile)));
  }
}

// Memory of the staged way: the tile itself, and one copy for each stage that keeps its output.
template <typename T>
struct StagedTiles {
  T *tile, *factors, *d_factors;
  T* kept;  // [stage][kRows][kWidth]

  void Take(Carve& carve, std::size_t stages) {
    for (T** memory : {&tile, &factors, &d_factors}) *memory = carve.Take<T>(kRows * kWidth<T>);
    kept = carve.Take<T>(stages * kRows * kWidth<T>);
  }
};

// Copies what a stage left. What is hidden counts as 0: it may be NaN, and a derivative there would
// carry it into gradients.
template <typename T>
HWY_INLINE void KeepOutput(const T* HWY_RESTRICT scores, const Unsigned<T>* HWY_RESTRICT words,
                           std::size_t rows, T* HWY_RESTRICT kept) {
  const Tag<T> d;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
      const auto x = hn::Load(d, scores + r * kWidth<T> + lane);
      hn::Store(words == nullptr ? x : hn::IfThenElseZero(SeenBy<T>(words, r, lane), x), d,
                kept + r * kWidth<T> + lane);
    }
  }
}

// A user's derivative may make anything of what is hidden: it counts as 0 again.
template <typename T>
HWY_NOINLINE void HideGradients(const Unsigned<T>* HWY_RESTRICT words, std::size_t rows,
                                T* HWY_RESTRICT gradients) {
  const Tag<T> d;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
      T* HWY_RESTRICT at = gradients + r * kWidth<T> + lane;
      hn::Store(hn::IfThenElseZero(SeenBy<T>(words, r, lane), hn::Load(d, at)), d, at);
    }
  }
}

// The gradient of each weight stage: P (dO V^T), which lies in d_factors, times the other stages'
// factors.
template <typename T>
HWY_NOINLINE void AddFactorGradients(const std::vector<Stage>& stages, ScoreTile<T> score_tile,
                                     std::size_t rows, const StagedTiles<T>& tiles) {
  const Tag<T> d;
  score_tile.data = tiles.factors;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    if (!stages[s].gradient.given()) continue;
    WeightFactors(stages, s, score_tile, tiles.factors);
    for (std::size_t at = 0; at < rows * kWidth<T>; at += kLanes<T>) {
      const auto gradient = hn::Load(d, tiles.d_factors + at);
      const auto product = hn::Mul(gradient, hn::Load(d, tiles.factors + at));
      hn::Store(hn::IfThenZeroElse(hn::Eq(gradient, hn::Zero(d)), product), d, tiles.factors + at);
    }
    AddWeightStageGradient(stages[s], score_tile);
  }
}

// The staged way: scores in memory, stages, weights; then back through the stages. `row` and
// `lane_begin` say which keys of the block and queries of the chunk the tile begins with.
template <class Gradient>
HWY_NOINLINE void StagedBackwardTile(const BackwardTile<typename Gradient::Ops>& tile,
                                     const Gradient& gradient, std::size_t row,
                                     std::size_t lane_begin, const std::vector<Stage>& stages,
                                     const std::vector<Stage>& weight_stages,
                                     ScoreTile<typename Gradient::T> score_tile,
                                     const StagedTiles<typename Gradient::T>& tiles) {
  using Ops = typename Gradient::Ops;
  using T = typename Ops::T;
  constexpr std::size_t M = kRows;
  const Tag<T> d;
  constexpr std::size_t kTile = kRows * kWidth<T>;
  T* HWY_RESTRICT scores = tiles.tile;
  HWY_ALIGN T weights[M * kWidth<T>];
  score_tile.data = scores;
  gradient.Tile(score_tile, row, lane_begin, tile.keys, tile.queries);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (KeptOf(stages[i]) == modifiers::Keeps::kInput)
      KeepOutput(scores, tile.words, M, tiles.kept + i * kTile);
    ApplyStage(stages[i], score_tile);
    if (KeptOf(stages[i]) == modifiers::Keeps::kOutput)
      KeepOutput(scores, tile.words, M, tiles.kept + i * kTile);
  }
  ResumeSession<Ops>(stages);
  const auto hidden = hn::Set(d, -std::numeric_limits<T>::infinity());
  Acc<Ops, M, 2> acc;
  gradient.MultiplyValues(tile, score_tile, weights, acc);
  const bool factored = !weight_stages.empty();
  // Products sum over whole tiles; what is taken pair by pair asks for no more than there is.
  const std::size_t rows = Gradient::kIsProduct ? M : score_tile.rows;
  const std::size_t vectors =
      Gradient::kIsProduct || factored || score_tile.lanes > kLanes<T> ? 2 : 1;
  if (vectors == 1) Clear(weights, rows * kWidth<T>);
  if (factored) {
    WeightFactors(weight_stages, weight_stages.size(), score_tile, tiles.factors);
    StoreAcc(acc, tiles.d_factors);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    Vec<T> p[2] = {hn::Zero(d), hn::Zero(d)};
    for (std::size_t v = 0; v < vectors; ++v) {
      const std::size_t lane = v * kLanes<T>;
      T* at = scores + r * kWidth<T> + lane;
      const auto s = hn::Load(d, at);
      auto seen = hn::Not(hn::Eq(s, hidden));
      if (tile.words != nullptr) seen = hn::And(seen, SeenBy<T>(tile.words, r, lane));
      p[v] = hn::Mul(Exp(hn::Sub(s, hn::Load(d, tile.lanes.maximum + lane)), tile.lanes.end(lane)),
                     hn::Load(d, tile.lanes.factor + lane));
      p[v] = hn::IfThenElseZero(seen, p[v]);
      auto dp = acc.v[r][v];
      const auto weight = p[v];
      if (factored) {
        const auto factor = hn::Load(d, tiles.factors + r * kWidth<T> + lane);
        T* d_factor = tiles.d_factors + r * kWidth<T> + lane;
        hn::Store(hn::IfThenElseZero(seen, hn::Mul(weight, hn::Load(d, d_factor))), d, d_factor);
        dp = hn::Mul(dp, factor);
        p[v] = hn::IfThenElseZero(seen, hn::Mul(weight, factor));
      }
      hn::Store(hn::IfThenElseZero(
                    seen, hn::Mul(weight, hn::Add(dp, hn::Load(d, tile.lanes.shift + lane)))),
                d, weights + r * kWidth<T> + lane);
    }
    Ops::StoreRow(p[0], p[1], tile.weights + r * (kQueryChunk / Ops::kPair));
  }
  if (factored) AddFactorGradients<T>(weight_stages, score_tile, M, tiles);
  std::copy_n(weights, rows * kWidth<T>, scores);
  for (std::size_t i = stages.size(); i-- > 0;) {
    DeriveStage(stages[i], score_tile, tiles.kept + i * kTile);
    if (CallsUserCode(stages[i]) && tile.words != nullptr) HideGradients(tile.words, M, scores);
  }
  ResumeSession<Ops>(stages);
  for (std::size_t r = 0; r < rows; ++r) {
    const T* at = scores + r * kWidth<T>;
    Ops::StoreRow(hn::Load(d, at), hn::Load(d, at + kLanes<T>),
                  tile.d_scores + r * (kQueryChunk / Ops::kPair));
  }
  if constexpr (Gradient::kIsProduct) {
    LoadAcc(scores, acc);
    Ops::template StoreByQuery<M>(acc, 0, tile.d_scores_by_query);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
