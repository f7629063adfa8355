// SPDX-License-Identifier: Apache-2.0
// The forward pass of one work item: a super-block of query rows over the chunks of keys that it
// sees.
//
// The queries of the item are packed once and its outputs stay in scratch as float; keys and values
// are packed a chunk at a time, and every group of rows passes over the chunk while it is in cache.
// Scratch is the same at any length.

#if defined(REGARD_KERNELS_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_FORWARD_INL_H_
#undef REGARD_KERNELS_FORWARD_INL_H_
#else
#define REGARD_KERNELS_FORWARD_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/chunk_walk.h"
#include "core/kernels/forward/next_item-inl.h"
#include "core/kernels/forward/row_groups-inl.h"
#include "core/kernels/forward/underflow-inl.h"
#include "core/kernels/kernels.h"
#include "core/kernels/stages/stages-inl.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/panels-inl.h"
#include "core/kernels/tile/prefetch-inl.h"
#include "core/kernels/tile/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Score>
class Forward {
  using Ops = typename Score::Ops;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr std::size_t kPair = Ops::kPair;

 public:
  static std::size_t ScratchBytes(const ForwardTask& task) { return Forward(task, nullptr).bytes_; }
  static void Run(const ForwardTask& task, std::size_t item, std::byte* scratch) {
    [[maybe_unused]] const typename Ops::Session session{};
    Forward pass(task, scratch);
    PrefetchNextItem(task, item, &pass.item_prefetch_);
    pass.RunItem(task.items[item]);
  }

 private:
  Forward(const ForwardTask& task, std::byte* scratch) : Forward(task, Carve(scratch)) {}

  Forward(const ForwardTask& task, Carve carve)
      : task_(task),
        dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        dim_v_(static_cast<std::size_t>(task.inputs.v.shape[3])),
        inner_(Score::Inner(dim_)),
        value_panels_((dim_v_ + kWidth<T> - 1) / kWidth<T>),
        chunk_(ChunkKeys(dim_, dim_v_)),
        copy_stride_(CopyStride(std::max(dim_, dim_v_))),
        score_(task, carve) {
    const std::size_t panels = chunk_ / kWidth<T>;
    queries_ = carve.Take<Rows<Packed>>(groups_.kMost);
    query_memory_ = carve.Take<Packed>(groups_.kMost * kRows * RowStride(inner_));
    groups_.Take(carve, dim_v_);
    keys_ = carve.Take<Packed>(panels * inner_ * kWidth<T>);
    value_memory_ = carve.Take<Packed>(value_panels_ * (chunk_ / kPair) * kWidth<T>);
    weights_ = carve.Take<Packed>(panels * kRows * kWidth<T> / kPair);
    scores_ = carve.Take<T>(panels * kRows * kWidth<T>);
    factors_ = carve.Take<T>(kRows * kWidth<T>);
    words_ = carve.Take<std::uint64_t>(panels * kRows);
    chunk_sums_ = carve.Take<T>(kRows * kLanes<T>);
    uses_ = carve.Take<PanelUse>(panels + 1);
    wanted_ = carve.Take<bool>(panels);
    wanted_next_ = carve.Take<bool>(panels);
    walk_.Take(carve);
    copies_ = carve.Take<T>(std::max(kWidth<T>, kRows) * copy_stride_);
    zeros_ = carve.Take<T>(copy_stride_);
    bytes_ = carve.bytes();
  }

  void RunItem(const ForwardItem& item) {
    item_ = &item;
    sequence_ = &task_.layout->sequences[static_cast<std::size_t>(item.sequence)];
    prefetch_ = exceeds_cache(*sequence_, std::max(dim_, dim_v_));
    Clear(zeros_, copy_stride_);
    const std::int64_t batch = sequence_->batch;
    const std::int32_t* key_order =
        task_.layout->key_rows(static_cast<std::size_t>(item.sequence), item.head_begin);
    k_ =
        RowsView::of(task_.inputs.k, batch, item.kv_head, sequence_->k_begin, key_order, prefetch_);
    v_ =
        RowsView::of(task_.inputs.v, batch, item.kv_head, sequence_->k_begin, key_order, prefetch_);
    key_source_ = score_.Start(*sequence_, k_, item.kv_head);
    walk_.Start(*task_.layout, item, chunk_);
    groups_.Find(item, *sequence_);
    for (std::size_t g = 0; g < groups_.count(); ++g) {
      if (groups_[g].rows == 0) continue;
      PackQueries(groups_[g]);
      groups_.Start(groups_[g]);
    }
    all_finite_ = SomeMayBeHidden();  // else values that are read where they lie are not looked at
    const auto size = static_cast<std::int64_t>(chunk_);
    for (std::int64_t chunk = walk_.Next(0); chunk < sequence_->len_k;
         chunk = walk_.Next(chunk + size))
      RunChunk(chunk);
    for (std::size_t g = 0; g < groups_.count(); ++g) Finish(groups_[g]);
  }

  void PackQueries(const RowGroup& group) {
    const RowsView q = QueryHead(task_.inputs.q, group);
    const std::int64_t next = group.row + static_cast<std::int64_t>(kRows),
                       left = sequence_->len_q - next;
    PrefetchRows(q, next, std::min<std::int64_t>(kRows, left), dim_);
    queries_[group.index] =
        score_.PackQueries(q, group.row, group.rows, group.index * kRows, Buffers(),
                           query_memory_ + group.index * kRows * RowStride(inner_));
  }
  template <class View>
  RowsView QueryHead(const View& view, const RowGroup& group) const {
    const std::int32_t* order =
        task_.layout->query_rows(static_cast<std::size_t>(item_->sequence), group.head);
    return RowsView::of(view, sequence_->batch, group.head, sequence_->q_begin, order, prefetch_);
  }
  RowBuffers<T> Buffers() const { return {copies_, copy_stride_, zeros_}; }

  // Packs the keys of a chunk that some row of the item sees, and lets every group of rows pass
  // over them.
  void RunChunk(std::int64_t chunk) {
    const std::int64_t chunk_end = walk_.End(chunk);
    const std::size_t panels = walk_.FindPanels(chunk, kWidth<T>, wanted_);
    values_finite_ = true;
    values_in_place_ = Ops::InPlace(v_, chunk, static_cast<std::size_t>(chunk_end - chunk), dim_v_);
    values_ = PanelsAt<Ops>(values_in_place_, v_, chunk, value_memory_, ValuePanelStride());
    for (std::size_t begin = 0, end; begin < panels; begin = end + 1) {
      while (begin < panels && !wanted_[begin]) ++begin;
      for (end = begin; end < panels && wanted_[end];) ++end;
      if (begin < end) PackKeys(chunk, begin, end);
    }
    all_finite_ &= values_finite_;
    chunk_prefetch_.Forget();
    const std::size_t late = groups_.count() - groups_.count() / 4;
    bool all_pass = true;
    for (std::size_t g = 0; g < groups_.count(); ++g) {
      const RowGroup& group = groups_[g];
      // Where masks leave little to do for a chunk, prefetching the next one costs more than
      // waiting for it. Late: what has been prefetched lies in L2 beside all that the passes use.
      if (g == late && all_pass && prefetch_ && chunk_end < sequence_->len_k)
        PrefetchChunk(chunk_end, late, panels);
      const bool sees = walk_.Sees(g / groups_.kPerUnit, chunk);
      all_pass &= sees || group.rows == 0;
      if (sees && group.rows != 0) PassOver(group, chunk, chunk_end);
    }
  }

  // While groups from `first` on pass over a chunk of so many panels.
  void PrefetchChunk(std::int64_t chunk, std::size_t first, std::size_t panels) {
    const std::size_t tiles = (groups_.count() - first) * (panels + value_panels_);
    walk_.FindPanels(chunk, kWidth<T>, wanted_next_);
    chunk_prefetch_.Add(key_source_, dim_);
    chunk_prefetch_.Add(v_, dim_v_);
    chunk_prefetch_.Start(chunk, walk_.End(chunk), tiles, wanted_next_, kWidth<T>);
  }

  void PackKeys(std::int64_t chunk, std::size_t panel_begin, std::size_t panel_end) {
    const bool prefetched = chunk_prefetch_.HasPrefetched(chunk);
    for (std::size_t p = panel_begin; p < panel_end; ++p) {
      const std::int64_t key = chunk + static_cast<std::int64_t>(p * kWidth<T>);
      const std::size_t n =
          static_cast<std::size_t>(std::min<std::int64_t>(kWidth<T>, sequence_->len_k - key));
      const std::int64_t next = key + static_cast<std::int64_t>(kWidth<T>);
      if (p + 1 < panel_end && !prefetched)
        PrefetchRows(key_source_, next, std::min<std::int64_t>(kWidth<T>, sequence_->len_k - next),
                     dim_);
      if (!prefetched) PrefetchRows(v_, key, static_cast<std::int64_t>(n), dim_v_);
      score_.PackKeys(k_, key, n, p * kWidth<T>, Buffers(), keys_ + p * inner_ * kWidth<T>);
    }
    const std::int64_t key = chunk + static_cast<std::int64_t>(panel_begin * kWidth<T>);
    const std::size_t padded = (panel_end - panel_begin) * kWidth<T>;
    const std::size_t n = static_cast<std::size_t>(
        std::min<std::int64_t>(static_cast<std::int64_t>(padded), sequence_->len_k - key));
    if (values_in_place_) {
      values_finite_ &= !SomeMayBeHidden() || Ops::FiniteInPlace(v_, key, n, dim_v_);
    } else {
      values_finite_ &=
          Ops::PackPanelsOf(v_, key, n, padded, dim_v_, ValuePanelStride(), Buffers(),
                            value_memory_ + panel_begin * kWidth<T> / kPair * kWidth<T>);
    }
  }

  // Whether a weight may be 0 because its pair is hidden or dropped, and not because its score is
  // low.
  bool SomeMayBeHidden() const { return task_.layout->mask != nullptr || Staged(); }
  bool Staged() const { return !task_.stages.empty() || !task_.weight_stages.empty(); }

  std::size_t ValuePanelStride() const { return chunk_ / kPair * kWidth<T>; }

  void PassOver(const RowGroup& group, std::int64_t chunk, std::int64_t chunk_end) {
    uses_count_ = UsePanels<T>(*task_.layout, static_cast<std::size_t>(item_->sequence), group.head,
                               group.unit, group.row, group.rows, chunk, chunk_end, uses_, words_);
    if (uses_count_ == 0) return;
    Clear(chunk_sums_, kRows * kLanes<T>);
    chunk_begin_ = chunk;
    if (Score::kInRegisters && !Staged()) {
      if constexpr (Score::kInRegisters) Weigh(group);
    } else {
      ScoreAll(group);
      RunStages(group);
      for (std::size_t r = 0; r < group.rows; ++r) {
        const T chunk_maximum = ChunkMaximum(r);
        const T maximum = groups_.Maxima(group)[r];
        // A row's first maximum, or one that has risen by more than 16: weights stay below e^16.
        if (maximum == kMinusInfinity<T> || chunk_maximum > maximum + T{16})
          groups_.Raise(group, r, chunk_maximum, all_finite_);
      }
      WeighAll(group);
    }
    AddSums(chunk_sums_, group.rows, groups_.Sum(group, 0));
    AccumulateValues(group);
    groups_.MarkStarted(group);
  }

  HWY_INLINE void BetweenTiles() {
    item_prefetch_.Step();
    chunk_prefetch_.Step();
  }

  // The plain way: weights straight from the accumulators, with the maxima that the rows have.
  void Weigh(const RowGroup& group) {
    T* maxima = groups_.Maxima(group);
    const Rows<Packed> q = queries_[group.index];
    bool waiting = SomeRowStarts<T>(group.rows, maxima, nullptr);
    if constexpr (Ops::kMatrixUnit) MultiplyPanel(group, 0);
    for (std::size_t u = 0; u < uses_count_; ++u) {
      BetweenTiles();
      // A matrix unit multiplies one panel while the vector units weigh the one before.
      if constexpr (Ops::kMatrixUnit) {
        if (u + 1 < uses_count_) MultiplyPanel(group, u + 1);
      }
      const bool starts = waiting && SomeRowStarts(group.rows, maxima,
                                                   uses_[u].partial ? words_ + u * kRows : nullptr);
      if constexpr (Ops::kMatrixUnit) {
        for (std::size_t r = 0; starts && r < group.rows; ++r) {
          if (maxima[r] == kMinusInfinity<T>) maxima[r] = MaximumIn(u, r);
        }
        WeighUse(group, q, u);
      } else {
        starts ? WeighFirst(group, q, u) : WeighUse(group, q, u);
      }
      if (starts) waiting = SomeRowStarts<T>(group.rows, maxima, nullptr);
    }
    bool again = false;
    for (std::size_t r = 0; r < group.rows; ++r) again |= Outgrown(group, r);
    if (HWY_UNLIKELY(again)) WeighAgain(group);
  }

  // Products with the keys of panel u, into its tile of scores.
  HWY_INLINE void MultiplyPanel(const RowGroup& group, std::size_t u) {
    SumPartsInto<Ops, kRows, 2>(1,
                                OnePart<Packed>{{queries_[group.index], KeysAt(uses_[u]), inner_}},
                                nullptr, scores_ + u * kRows * kWidth<T>);
  }
  Columns<Packed> KeysAt(const PanelUse& use) const {
    return {keys_ + use.panel * inner_ * kWidth<T>, static_cast<std::int64_t>(kWidth<T>)};
  }

  // The greatest score that row r sees in panel u, of products in its tile of scores.
  T MaximumIn(std::size_t u, std::size_t r) const {
    return MaximumOfProducts<Ops>(scores_ + (u * kRows + r) * kWidth<T>,
                                  static_cast<T>(task_.scale),
                                  uses_[u].partial ? words_ + u * kRows + r : nullptr);
  }

  Weighing<Ops> WeighingOf(const RowGroup& group, std::size_t u) const {
    Packed* weights = weights_ + u * kRows * kWidth<T> / kPair;
    return {static_cast<T>(task_.scale),
            groups_.Maxima(group),
            words_ + u * kRows,
            chunk_sums_,
            weights,
            uses_[u].lane<T>()};
  }
  HWY_INLINE void WeighUse(const RowGroup& group, const Rows<Packed>& q, std::size_t u) {
    const PanelUse use = uses_[u];
    const Weighing<Ops> to = WeighingOf(group, u);
    if constexpr (Ops::kMatrixUnit) {
      const T* products = scores_ + u * kRows * kWidth<T>;
      use.partial ? WeighTile<Ops, true>(products, group.rows, to)
                  : WeighTile<Ops, false>(products, group.rows, to);
    } else {
      const Packed* k = KeysAt(use).data;
      if (use.narrow<T>()) {
        REGARD_FOR_ROWS(group.rows, (WeighPanel<Ops, M, 1, true>(q.data, q.stride, k, inner_, to)));
      } else if (use.partial) {
        REGARD_FOR_ROWS(group.rows, (WeighPanel<Ops, M, 2, true>(q.data, q.stride, k, inner_, to)));
      } else {
        REGARD_FOR_ROWS(group.rows,
                        (WeighPanel<Ops, M, 2, false>(q.data, q.stride, k, inner_, to)));
      }
    }
  }
  // The same where rows find their maximum.
  HWY_INLINE void WeighFirst(const RowGroup& group, const Rows<Packed>& q, std::size_t u) {
    const PanelUse use = uses_[u];
    const Packed* k = KeysAt(use).data;
    const Weighing<Ops> to = WeighingOf(group, u);
    T* maxima = groups_.Maxima(group);
    if (use.narrow<T>()) {
      REGARD_FOR_ROWS(group.rows,
                      (WeighFirstPanel<Ops, M, 1>(q, k, inner_, to, use.partial, maxima)));
    } else {
      REGARD_FOR_ROWS(group.rows,
                      (WeighFirstPanel<Ops, M, 2>(q, k, inner_, to, use.partial, maxima)));
    }
  }

  bool Outgrown(const RowGroup& group, std::size_t r) const {
    return SumTooLarge(groups_.Sum(group, r), chunk_sums_ + r * kLanes<T>);
  }

  // Does the chunk again for rows whose sum has outgrown their maximum; the others get the same
  // bits as before.
  void WeighAgain(const RowGroup& group) {
    bool outgrown[kRows];
    for (std::size_t r = 0; r < group.rows; ++r) outgrown[r] = Outgrown(group, r);
    Clear(chunk_sums_, kRows * kLanes<T>);
    if constexpr (!Ops::kMatrixUnit) ScoreAll(group);  // else products still lie there
    for (std::size_t u = 0; !Ops::kMatrixUnit && u < uses_count_; ++u) {
      if (uses_[u].partial)
        HideScores(group.rows, words_ + u * kRows, scores_ + u * kRows * kWidth<T>);
    }
    for (std::size_t r = 0; r < group.rows; ++r) {
      if (!outgrown[r]) continue;
      const T chunk_maximum = ChunkMaximum(r);
      if (chunk_maximum > groups_.Maxima(group)[r])
        groups_.Raise(group, r, chunk_maximum, all_finite_);
    }
    if constexpr (Ops::kMatrixUnit) {
      for (std::size_t u = 0; u < uses_count_; ++u) WeighUse(group, queries_[group.index], u);
    } else {
      WeighAll(group);
    }
  }

  void ScoreAll(const RowGroup& group) {
    for (std::size_t u = 0; u < uses_count_; ++u) {
      BetweenTiles();
      score_.Tile(TileOf(group, u), group.index * kRows, uses_[u].panel * kWidth<T>,
                  queries_[group.index], KeysAt(uses_[u]).data);
    }
  }

  void RunStages(const RowGroup& group) {
    for (std::size_t u = 0; u < uses_count_; ++u) {
      const ScoreTile<T> tile = TileOf(group, u);
      for (const Stage& stage : task_.stages) ApplyStage(stage, tile);
      ResumeSession<Ops>(task_.stages);
      if (uses_[u].partial) HideScores(group.rows, words_ + u * kRows, tile.data);
    }
  }

  ScoreTile<T> TileOf(const RowGroup& group, std::size_t u) const {
    const std::int64_t key = chunk_begin_ + static_cast<std::int64_t>(uses_[u].panel * kWidth<T>);
    ScoreTile<T> tile = TileFrom<T>(*sequence_, group.row, key, false);
    tile.data = scores_ + u * kRows * kWidth<T>;
    tile.rows = group.rows;
    tile.lanes =
        static_cast<std::size_t>(std::min<std::int64_t>(kWidth<T>, sequence_->len_k - key));
    tile.head = group.head;
    return tile;
  }

  T ChunkMaximum(std::size_t r) const {
    T maximum = kMinusInfinity<T>;
    for (std::size_t u = 0; u < uses_count_; ++u) {
      const T m = Ops::kMatrixUnit && !Staged() ? MaximumIn(u, r)
                                                : RowMaximum(scores_ + (u * kRows + r) * kWidth<T>);
      if (!(m <= maximum)) maximum = m;  // NaN stays
      if (maximum != maximum) break;
    }
    return maximum;
  }

  void WeighAll(const RowGroup& group) {
    const bool factored = !task_.weight_stages.empty();
    for (std::size_t u = 0; u < uses_count_; ++u) {
      if (factored)
        WeightFactors(task_.weight_stages, task_.weight_stages.size(), TileOf(group, u), factors_);
      for (std::size_t r = 0; r < group.rows; ++r) {
        WeighRow<Ops>(scores_ + (u * kRows + r) * kWidth<T>, groups_.Maxima(group)[r],
                      chunk_sums_ + r * kLanes<T>, weights_ + (u * kRows + r) * kWidth<T> / kPair,
                      factored ? factors_ + r * kWidth<T> : nullptr);
      }
    }
  }

  void AccumulateValues(const RowGroup& group) {
    // Tails of a sequence count as partial too, but nothing is read there.
    const bool select = !values_finite_ && SomeMayBeHidden(), started = groups_.Started(group);
    for (std::size_t p = 0; p < value_panels_; ++p) {
      BetweenTiles();
      T* out = groups_.OutTile(group, p);
      const Filled filled = FilledBy<Ops>(dim_v_ - p * kWidth<T>);
      if (HWY_UNLIKELY(select)) {
        AddSelecting<Ops>(uses_count_, UsedPart<Ops>{weights_, values_.at(p), uses_}, group.rows,
                          filled != Filled::kTwo, TileEnd<T>{out, started});
      } else if (filled == Filled::kHalf) {
        REGARD_FOR_ROWS(group.rows,
                        (AccumulatePanel<typename Ops::Half, M, 1>(values_.at(p), started, out)));
      } else if (filled == Filled::kOne) {
        REGARD_FOR_ROWS(group.rows, (AccumulatePanel<Ops, M, 1>(values_.at(p), started, out)));
      } else {
        REGARD_FOR_ROWS(group.rows, (AccumulatePanel<Ops, M, 2>(values_.at(p), started, out)));
      }
    }
    // What a stage of weights makes 0 is dropped.
    if (HWY_UNLIKELY(select && task_.weight_stages.empty())) {
      const T* scores = task_.stages.empty() ? nullptr : scores_;
      SpreadNotFinite<Ops>(
          {uses_, uses_count_, group.rows, weights_, words_, scores, chunk_begin_,
           std::min(chunk_begin_ + static_cast<std::int64_t>(chunk_), sequence_->len_k)},
          v_, dim_v_, copies_, groups_.OutTile(group, 0));
    }
  }

  // out (M rows by V vectors) = or, where it has started, += weights (rows by the chunk's used
  // keys) times `values` (keys by kWidth). Chunk by chunk: a long sum rounds less in pieces.
  template <class TileOps, std::size_t M, std::size_t V>
  HWY_NOINLINE void AccumulatePanel(Columns<Packed> values, bool started,
                                    T* HWY_RESTRICT out) const {
    SumPartsInto<TileOps, M, V>(uses_count_, UsedPart<Ops>{weights_, values, uses_},
                                started ? out : nullptr, out);
  }

  void Finish(const RowGroup& group) {
    const Outputs& to = task_.outputs;
    const RowsView out = QueryHead(to.out, group);
    const std::int64_t next = group.row + static_cast<std::int64_t>(kRows),
                       left = sequence_->len_q - next;
    PrefetchRows<true>(out, next, std::min<std::int64_t>(kRows, left), dim_v_);
    groups_.Write(group, task_.sinks, out,
                  {StatisticsHead(to.maximum, group), StatisticsHead(to.log_sum, group),
                   StatisticsHead(to.lse, group)},
                  zeros_);
  }
  RowsView StatisticsHead(const MutableTensorView& view, const RowGroup& group) const {
    return view.given() ? QueryHead(view, group) : RowsView{};
  }

  const ForwardTask& task_;
  const std::size_t dim_, dim_v_, inner_, value_panels_, chunk_, copy_stride_;
  Score score_;
  std::int64_t chunk_begin_ = 0;
  std::size_t bytes_ = 0, uses_count_ = 0;
  bool prefetch_ = false, values_finite_ = true, values_in_place_ = false;
  bool all_finite_ = false;  // known of all values of the item so far
  RowGroups<Ops> groups_;
  Rows<Packed>* queries_;  // of each group
  Panels<Packed> values_{};
  Packed *query_memory_, *keys_, *value_memory_, *weights_;
  T *scores_, *factors_, *chunk_sums_, *copies_, *zeros_;
  bool *wanted_, *wanted_next_;
  std::uint64_t* words_;
  PanelUse* uses_;
  const ForwardItem* item_ = nullptr;
  const plan::Sequence* sequence_ = nullptr;
  RowsView k_, v_, key_source_;
  ItemPrefetch item_prefetch_;
  ChunkWalk walk_;
  ChunkPrefetch chunk_prefetch_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
