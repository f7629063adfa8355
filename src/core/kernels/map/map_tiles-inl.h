// SPDX-License-Identifier: Apache-2.0
// Weights again from queries, keys and the statistics of the rows: P = exp((s - maximum) - log_sum)
// * factors, a group of rows and a chunk of keys at a time.

#if defined(REGARD_KERNELS_MAP_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_TILES_INL_H_
#undef REGARD_KERNELS_MAP_TILES_INL_H_
#else
#define REGARD_KERNELS_MAP_TILES_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/map/map_strip-inl.h"
#include "core/kernels/map/map_task.h"
#include "core/kernels/stages/stages-inl.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/panels-inl.h"
#include "core/kernels/tile/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Both are subtracted from a score: with the sum in the exponent, weights that are next to nothing
// are normal numbers, or 0.
template <typename T>
struct RowStatistics {
  const T *maximum, *log_sum;
};

// Weights of M rows and one panel of keys, straight from the accumulators.
template <class Ops, std::size_t M, bool kPartial>
HWY_NOINLINE void WeightsPanel(Rows<typename Ops::Packed> q,
                               const typename Ops::Packed* HWY_RESTRICT k, std::size_t inner,
                               typename Ops::T score_factor, RowStatistics<typename Ops::T> rows,
                               const std::uint64_t* HWY_RESTRICT words,
                               typename Ops::T* HWY_RESTRICT weights) {
  using T = typename Ops::T;
  const Tag<T> d;
  Acc<Ops, M, 2> acc;
  AccumulateScores(q, k, inner, acc);
#pragma GCC unroll 12
  for (std::size_t r = 0; r < M; ++r) {
    const auto maximum = hn::Set(d, rows.maximum[r]), log_sum = hn::Set(d, rows.log_sum[r]);
#pragma GCC unroll 2
    for (std::size_t v = 0; v < 2; ++v) {
      auto p = Exp<T>(hn::Sub(hn::Sub(Ops::ScoreOf(acc.v[r][v], score_factor), maximum), log_sum));
      if constexpr (kPartial) p = hn::IfThenElseZero(VisibleLanes<T>(words[r], v * kLanes<T>), p);
      hn::Store(p, d, weights + r * kWidth<T> + v * kLanes<T>);
    }
  }
}

// Scores of one row of one panel -> weights; -infinity gives 0. `factors` may be null.
template <typename T>
HWY_INLINE void RowWeights(const T* HWY_RESTRICT scores, T maximum, T log_sum,
                           const T* HWY_RESTRICT factors, T* HWY_RESTRICT weights) {
  const Tag<T> d;
  for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
    const auto s = hn::Load(d, scores + lane);
    auto p = Exp<T>(hn::Sub(hn::Sub(s, hn::Set(d, maximum)), hn::Set(d, log_sum)));
    if (factors != nullptr) p = hn::Mul(p, hn::Load(d, factors + lane));
    hn::Store(hn::IfThenZeroElse(hn::Eq(s, hn::Set(d, kMinusInfinity<T>)), p), d, weights + lane);
  }
}

// A group of rows of a map: its place among the packed queries, its row unit, its first row in the
// sequence.
struct MapGroup {
  std::size_t index;
  std::int64_t unit, row;
  std::size_t rows;
};

// Queries are packed into `groups` places, keys a chunk at a time; Weigh() makes the weights of one
// group and the chunk.
template <class Score>
class MapTiles {
  using Ops = typename Score::Ops;
  using Packed = typename Ops::Packed;

 public:
  using T = typename Ops::T;
  static constexpr std::size_t kGroupsPerUnit = static_cast<std::size_t>(plan::kRowUnit) / kRows;
  static constexpr std::size_t kTile = kRows * kWidth<T>;

  MapTiles(const MapTask& task, std::size_t groups, Carve& carve)
      : task_(task.pass),
        dim_(static_cast<std::size_t>(task_.inputs.q.shape[3])),
        inner_(Score::Inner(dim_)),
        chunk_(ChunkKeys(dim_, 0)),
        copy_stride_(CopyStride(dim_)),
        score_(task_, carve) {
    queries_ = carve.Take<Rows<Packed>>(groups);
    query_memory_ = carve.Take<Packed>(groups * kRows * RowStride(inner_));
    maxima_ = carve.Take<T>(groups * kRows);
    log_sums_ = carve.Take<T>(groups * kRows);
    dead_ = carve.Take<bool>(groups * kRows);
    keys_ = carve.Take<Packed>(Panels() * inner_ * kWidth<T>);
    weights_ = carve.Take<T>(Panels() * kTile);
    scores_ = carve.Take<T>(kTile);
    factors_ = carve.Take<T>(kTile);
    words_ = carve.Take<std::uint64_t>(Panels() * kRows);
    uses_ = carve.Take<PanelUse>(Panels() + 1);
    copies_ = carve.Take<T>(std::max(kWidth<T>, kRows) * copy_stride_);
    zeros_ = carve.Take<T>(copy_stride_);
  }

  std::size_t chunk() const { return chunk_; }
  std::size_t Panels() const { return chunk_ / kWidth<T>; }
  const plan::Sequence& sequence() const { return *sequence_; }

  void Enter(std::size_t sequence, std::int32_t head) {
    sequence_index_ = sequence;
    sequence_ = &task_.layout->sequences[sequence];
    head_ = head;
    std::fill_n(zeros_, copy_stride_, T{0});
    prefetch_ = exceeds_cache(*sequence_, static_cast<std::size_t>(task_.inputs.q.shape[3]));
    k_ = RowsView::of(task_.inputs.k, sequence_->batch, head / task_.group, sequence_->k_begin,
                      task_.layout->key_rows(sequence, head), prefetch_);
    score_.Start(*sequence_, k_, head / task_.group);
  }

  std::span<const plan::Interval> Intervals(std::int64_t unit) const {
    return task_.layout->unit(sequence_index_, head_, unit);
  }

  // Group g of those that begin with unit `first_unit`; without rows where the sequence has none
  // there.
  MapGroup GroupAt(std::size_t g, std::int64_t first_unit) const {
    const std::int64_t unit = first_unit + static_cast<std::int64_t>(g / kGroupsPerUnit);
    const std::int64_t row =
        unit * plan::kRowUnit + static_cast<std::int64_t>(g % kGroupsPerUnit * kRows);
    return {g, unit, row,
            static_cast<std::size_t>(std::clamp<std::int64_t>(sequence_->len_q - row, 0,
                                                              static_cast<std::int64_t>(kRows)))};
  }

  // The group's queries and statistics.
  void PackQueries(const MapGroup& group) {
    const RowsView q = QueryHead(task_.inputs.q);
    queries_[group.index] =
        score_.PackQueries(q, group.row, group.rows, group.index * kRows, Buffers(),
                           query_memory_ + group.index * kRows * RowStride(inner_));
    const RowsView maximum = QueryHead(task_.outputs.maximum),
                   log_sum = QueryHead(task_.outputs.log_sum);
    for (std::size_t r = 0; r < kRows; ++r) {
      const std::size_t at = group.index * kRows + r;
      maxima_[at] = log_sums_[at] = T{0};
      dead_[at] = false;
      if (r >= group.rows) continue;
      const std::int64_t row = group.row + static_cast<std::int64_t>(r);
      const T own = static_cast<const T*>(maximum.base)[maximum.At(row)];
      dead_[at] = own == kMinusInfinity<T>;
      if (!dead_[at]) maxima_[at] = own;
      log_sums_[at] = static_cast<const T*>(log_sum.base)[log_sum.At(row)];
    }
  }

  // Panel p of the chunk that begins with key `chunk`, a multiple of kWidth.
  void PackPanel(std::int64_t chunk, std::size_t p) {
    const std::int64_t key = chunk + static_cast<std::int64_t>(p * kWidth<T>);
    const auto n =
        static_cast<std::size_t>(std::min<std::int64_t>(kWidth<T>, sequence_->len_k - key));
    score_.PackKeys(k_, key, n, p * kWidth<T>, Buffers(), keys_ + p * inner_ * kWidth<T>);
  }

  // The weights of the group and keys [chunk, chunk_end): returns how many panels have some; use(u)
  // says which, tile(u) is [kRows][kWidth], 0 where hidden. Rows past the group's hold anything.
  std::size_t Weigh(const MapGroup& group, std::int64_t chunk, std::int64_t chunk_end) {
    const std::size_t count = UsePanels<T>(*task_.layout, sequence_index_, head_, group.unit,
                                           group.row, group.rows, chunk, chunk_end, uses_, words_);
    const bool plain = Score::kInRegisters && task_.stages.empty() && task_.weight_stages.empty();
    const std::size_t at = group.index * kRows;
    const bool some_dead =
        std::any_of(dead_ + at, dead_ + at + group.rows, [](bool dead) { return dead; });
    for (std::size_t u = 0; u < count; ++u) {
      if constexpr (Score::kInRegisters) {
        if (plain) WeighPlain(group, u);
      }
      if (!plain) WeighStaged(group, u, chunk);
      for (std::size_t r = 0; some_dead && r < group.rows; ++r) {
        if (dead_[at + r]) std::fill_n(weights_ + u * kTile + r * kWidth<T>, kWidth<T>, T{0});
      }
    }
    return count;
  }
  const PanelUse& use(std::size_t u) const { return uses_[u]; }
  const T* tile(std::size_t u) const { return weights_ + u * kTile; }

  // The rows of a group and the keys from `chunk` on, as the tensors number them.
  MapAxis RowsOf(const MapGroup& group) const {
    const std::int32_t* order = task_.layout->query_rows(sequence_index_, head_);
    return order == nullptr ? MapAxis{sequence_->q_begin + group.row}
                            : MapAxis{sequence_->q_begin, order + group.row};
  }
  MapAxis KeysFrom(std::int64_t chunk) const {
    const std::int32_t* order = task_.layout->key_rows(sequence_index_, head_);
    return order == nullptr ? MapAxis{sequence_->k_begin + chunk}
                            : MapAxis{sequence_->k_begin, order + chunk};
  }

 private:
  RowBuffers<T> Buffers() const { return {copies_, copy_stride_, zeros_}; }
  template <class View>
  RowsView QueryHead(const View& view) const {
    return RowsView::of(view, sequence_->batch, head_, sequence_->q_begin,
                        task_.layout->query_rows(sequence_index_, head_), prefetch_);
  }

  void WeighPlain(const MapGroup& group, std::size_t u) {
    const PanelUse use = uses_[u];
    const Rows<Packed> q = queries_[group.index];
    const Packed* k = keys_ + use.panel * inner_ * kWidth<T>;
    const RowStatistics<T> rows{maxima_ + group.index * kRows, log_sums_ + group.index * kRows};
    const T factor = static_cast<T>(task_.scale);
    const std::uint64_t* words = words_ + u * kRows;
    T* weights = weights_ + u * kTile;
    if (use.partial) {
      REGARD_FOR_ROWS(group.rows,
                      (WeightsPanel<Ops, M, true>(q, k, inner_, factor, rows, words, weights)));
    } else {
      REGARD_FOR_ROWS(group.rows,
                      (WeightsPanel<Ops, M, false>(q, k, inner_, factor, rows, words, weights)));
    }
  }

  void WeighStaged(const MapGroup& group, std::size_t u, std::int64_t chunk) {
    const PanelUse use = uses_[u];
    const ScoreTile<T> tile =
        TileAt(group, chunk + static_cast<std::int64_t>(use.panel * kWidth<T>));
    score_.Tile(tile, group.index * kRows, use.panel * kWidth<T>, queries_[group.index],
                keys_ + use.panel * inner_ * kWidth<T>);
    for (const Stage& stage : task_.stages) ApplyStage(stage, tile);
    ResumeSession<Ops>(task_.stages);
    if (use.partial) HideScores(group.rows, words_ + u * kRows, tile.data);
    const bool factored = !task_.weight_stages.empty();
    if (factored) WeightFactors(task_.weight_stages, task_.weight_stages.size(), tile, factors_);
    for (std::size_t r = 0; r < group.rows; ++r) {
      const std::size_t at = group.index * kRows + r;
      RowWeights(scores_ + r * kWidth<T>, maxima_[at], log_sums_[at],
                 factored ? factors_ + r * kWidth<T> : nullptr,
                 weights_ + u * kTile + r * kWidth<T>);
    }
  }

  ScoreTile<T> TileAt(const MapGroup& group, std::int64_t key) const {
    ScoreTile<T> tile = TileFrom<T>(*sequence_, group.row, key, false);
    tile.data = scores_;
    tile.rows = group.rows;
    tile.lanes =
        static_cast<std::size_t>(std::min<std::int64_t>(kWidth<T>, sequence_->len_k - key));
    tile.head = head_;
    return tile;
  }

  const ForwardTask& task_;
  const std::size_t dim_, inner_, chunk_, copy_stride_;
  Score score_;
  Rows<Packed>* queries_;  // of each group
  Packed *query_memory_, *keys_;
  T *maxima_, *log_sums_, *weights_, *scores_, *factors_, *copies_, *zeros_;
  bool* dead_;
  std::uint64_t* words_;
  PanelUse* uses_;
  std::size_t sequence_index_ = 0;
  const plan::Sequence* sequence_ = nullptr;
  std::int32_t head_ = 0;
  bool prefetch_ = false;  // the rows of the sequence
  RowsView k_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
