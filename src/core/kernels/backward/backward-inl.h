// SPDX-License-Identifier: Apache-2.0
// The backward pass of one work item: a block of keys keeps its dk and dv while it meets chunks of
// queries.
//
// Tiles have keys as rows and queries as lanes, so that P and dS are stored once and serve dv, dk
// and dq without a transpose. The dq of a chunk is accumulated over the whole block and added
// once to the sum over blocks, in the order of the blocks.

#if defined(REGARD_KERNELS_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_INL_H_
#undef REGARD_KERNELS_BACKWARD_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_INL_H_
#endif

#include <algorithm>
#include <thread>

#include "core/kernels/backward/backward_tile-inl.h"
#include "core/kernels/backward/backward_tiles-inl.h"
#include "core/kernels/backward/backward_visits.h"
#include "core/kernels/backward/block_keys-inl.h"
#include "core/kernels/backward/chunk_queries-inl.h"
#include "core/kernels/backward/gradient_sums-inl.h"
#include "core/kernels/backward/matrix_tile-inl.h"
#include "core/kernels/backward/next_item-inl.h"
#include "core/kernels/backward/statistics-inl.h"
#include "core/kernels/backward/transposed_dq-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/panels-inl.h"
#include "core/kernels/tile/prefetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// `Gradient` is the score's policy (DotGradient, AdditiveGradient). It says
//   kIsProduct          scores are products of packed operands: Backward then makes the gradients
//   of
//                       queries and keys, which are products too. If not, AddTiles(),
//                       FinishQueries() and WriteKeys() make them
//   MultipliesPairs()   whether products with values and the gradients of outputs are taken pair by
//                       pair, from rows of whole vectors, instead of packed operands
// and packs what it multiplies: keys, values, queries, gradients of outputs.
template <class Gradient>
class Backward {
  using Ops = typename Gradient::Ops;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr std::size_t kPair = Ops::kPair;
  static constexpr std::size_t kQueries = static_cast<std::size_t>(kQueryChunk);
  using Tiles = BackwardTiles<T>;
  static constexpr std::size_t kPanels = Tiles::kPanels,
                               kSubKeys = Ops::kMatrixUnit ? 96 : Tiles::kSubKeys,
                               kSubGroups = kSubKeys / kRows;

 public:
  static std::size_t ScratchBytes(const BackwardTask& task) {
    return Backward(task, nullptr).bytes_;
  }
  static void Run(const BackwardTask& task, std::size_t item, std::byte* scratch) {
    [[maybe_unused]] const typename Ops::Session session{};
    Backward pass(task, scratch);
    PrefetchNextItem(task, item, &pass.item_prefetch_);
    pass.RunItem(task.items[item]);
  }

 private:
  Backward(const BackwardTask& task, std::byte* scratch) : Backward(task, Carve(scratch)) {}

  Backward(const BackwardTask& task, Carve carve)
      : task_(task),
        dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        dim_v_(static_cast<std::size_t>(task.inputs.v.shape[3])),
        inner_(Gradient::Inner(dim_)),
        inner_v_(Ops::Inner(dim_v_)),
        panels_((dim_ + kWidth<T> - 1) / kWidth<T>),
        panels_v_((dim_v_ + kWidth<T> - 1) / kWidth<T>),
        copy_stride_(CopyStride(std::max(dim_, dim_v_))),
        most_keys_(static_cast<std::size_t>(
            most_block_keys(task.inputs.q.shape[3], task.inputs.v.shape[3]))),
        groups_(most_keys_ / kRows),
        gradient_(task, most_keys_, carve) {
    packed_keys_.Take(carve, most_keys_, dim_, dim_v_);
    dk_.Take(carve, groups_, panels_);
    dv_.Take(carve, groups_, panels_v_);
    packed_queries_.Take(carve, dim_, dim_v_);
    weights_ = carve.Take<Packed>(kSubKeys * kQueries / kPair);
    d_scores_ = carve.Take<Packed>(kSubKeys * kQueries / kPair);
    d_scores_by_query_ =
        Ops::kSeparateByQuery ? carve.Take<Packed>(kSubKeys * kQueries / kPair) : d_scores_;
    dq_.Take(carve, kQueries, panels_);
    transposed_dq_.Take(carve, dim_);
    ahead_.Take(carve);
    statistics_.Take(carve, kQueries, inner_v_);
    tiles_.words = carve.Take<std::uint64_t>(kPanels * 2 * kWidth<T>);
    tile_words_ = carve.Take<Unsigned<T>>(kWidth<T>);
    staged_.Take(carve, task.stages.size());
    copies_ = carve.Take<T>(std::max(kWidth<T>, kRows) * copy_stride_);
    zeros_ = carve.Take<T>(copy_stride_);
    bytes_ = carve.bytes();
  }

  void RunItem(const BackwardItem& item) {
    Clear(zeros_, copy_stride_);
    for (std::int64_t block = item.block_begin; block < item.block_end; ++block) {
      for (std::int32_t s = item.sequence_begin; s < item.sequence_end; ++s) {
        for (std::int32_t kv = item.kv_begin; kv < item.kv_end; ++kv) RunBlock(block, s, kv);
      }
    }
    gradient_.Finish();
  }

  void RunBlock(std::int64_t block, std::int32_t s, std::int32_t kv_head) {
    sequence_index_ = static_cast<std::size_t>(s);
    sequence_ = &task_.layout->sequences[sequence_index_];
    block_ = block;
    block_keys_ = block_keys(task_, *sequence_);
    prefetch_ = exceeds_cache(*sequence_, std::max(dim_, dim_v_));
    key_begin_ = block * block_keys_;
    const std::int64_t own_end = std::min(key_begin_ + block_keys_, sequence_->k_rows);
    if (key_begin_ > 0 && key_begin_ >= sequence_->k_rows) return;
    keys_ = static_cast<std::size_t>(
        std::max<std::int64_t>(0, std::min(own_end, sequence_->len_k) - key_begin_));
    PackKeys(kv_head);
    for (std::int64_t head = kv_head * task_.group; head < (kv_head + 1) * task_.group; ++head) {
      head_ = static_cast<std::int32_t>(head);
      gradient_.StartHead(sequence_->batch, head_);
      RunChunks(head + 1 == (kv_head + 1) * task_.group);
      gradient_.EndHead(head % task_.group, Slot(), keys_);
    }
    WriteKeys(own_end);
  }

  RowBuffers<T> Buffers() const { return {copies_, copy_stride_, zeros_}; }

  void PackKeys(std::int32_t kv_head) {
    const RowsView k = KeyHead(task_.inputs.k, kv_head), v = KeyHead(task_.inputs.v, kv_head);
    block_groups_ = (keys_ + kRows - 1) / kRows;
    gradient_.Start(*sequence_, k, kv_head,
                    task_.gradients.dk.given() ? KeyHead(task_.gradients.dk, kv_head) : RowsView{});
    packed_keys_.Pack(k, v, key_begin_, keys_, Staged(), gradient_, Buffers());
    dk_.Start(RowsOfKeys(task_.gradients.dk, kv_head, dim_, task_.scale), block_groups_);
    dv_.Start(RowsOfKeys(task_.gradients.dv, kv_head, dim_v_, 1), block_groups_);
  }

  GradientRows<Ops> RowsOfKeys(const MutableTensorView& view, std::int32_t kv_head, std::size_t dim,
                               double factor) const {
    return {view.given() ? KeyHead(view, kv_head) : RowsView{}, key_begin_, dim,
            static_cast<T>(factor), gradient_.MultipliesPairs() && streams_key_gradients(task_)};
  }

  // `last_head`: of the query heads that share the block's keys.
  void RunChunks(bool last_head) {
    visits_ = BackwardVisits(task_, sequence_index_, head_, block_keys_);
    for (std::int64_t chunk = 0; block_ == 0 && chunk < visits_.chunks(); ++chunk) {
      if (!visits_.blocks_of(chunk).empty()) continue;
      SelectChunk(chunk);
      AddQueries(chunk, {0, true});  // rows that see nothing have gradient 0
    }
    const ChunkOrder order(visits_.chunks_of(block_), visits_.chunks_of(block_ + 1));
    for (std::int64_t chunk = order.first(), next; chunk != ChunkOrder::kNone; chunk = next) {
      next = order.after(chunk);
      RunChunk(chunk, next, last_head && next == ChunkOrder::kNone);
    }
  }

  // While the chunk before it passes.
  void PrefetchChunk(std::int64_t chunk) {
    BackwardTurn turn;
    chunk_prefetch_.Forget();
    if (!prefetch_ || chunk == ChunkOrder::kNone || !visits_.meet(chunk, block_, &turn)) return;
    const std::int64_t first = chunk * kQueryChunk,
                       end = std::min(first + kQueryChunk, sequence_->len_q);
    chunk_prefetch_.Add(HeadOf(task_.inputs.q), dim_);
    chunk_prefetch_.Add(HeadOf(task_.inputs.d_out), dim_v_);
    chunk_prefetch_.Add(HeadOf(task_.inputs.out), dim_v_);
    if (dq_.wanted() && turn.before != 0) chunk_prefetch_.Add(HeadOf(task_.dq_sum), dim_);
    chunk_prefetch_.Start(first, end, block_groups_ * kPanels);
    statistics_.Prefetch(HeadOf(task_.inputs.maximum), HeadOf(task_.inputs.log_sum), first, end);
  }

  void SelectChunk(std::int64_t chunk) {
    query_ = chunk * kQueryChunk;
    queries_ = static_cast<std::size_t>(std::min(kQueryChunk, sequence_->len_q - query_));
    const RowsView to = task_.gradients.dq.given() ? HeadOf(task_.gradients.dq) : RowsView{};
    dq_.Start({to, query_, dim_, Gradient::kIsProduct ? static_cast<T>(task_.scale) : T{1}});
    if (!Gradient::kIsProduct) dq_.FillUp(queries_);
    tiles_.Start();
    packed_queries_.Start(HeadOf(task_.inputs.q), HeadOf(task_.inputs.d_out), query_, queries_);
  }

  // `next` comes after it; `last`: no other will come to the block's keys.
  void RunChunk(std::int64_t chunk, std::int64_t next, bool last) {
    BackwardTurn turn;
    if (!visits_.meet(chunk, block_, &turn)) return;
    dk_.ExpectLast(last);
    dv_.ExpectLast(last);
    SelectChunk(chunk);
    statistics_.ReadMaxima(HeadOf(task_.inputs.maximum), query_, queries_);
    gradient_.StartChunk(HeadOf(task_.inputs.q), query_);
    PrefetchChunk(next);
    // Sub-blocks of about one size.
    const std::size_t count = (block_groups_ + kSubGroups - 1) / kSubGroups;
    for (std::size_t s = 0, begin = 0, end; s < count; ++s, begin = end) {
      dq_.ExpectLast(Gradient::kIsProduct && !Ops::kMatrixUnit && turn.before == 0 && turn.last &&
                     s + 1 == count);
      // A matrix unit's begin with a whole step of keys.
      end = Ops::kMatrixUnit ? std::min(begin + kSubGroups, block_groups_)
                             : (s + 1) * block_groups_ / count;
      RunSubBlock(begin, end);
    }
    AddQueries(chunk, turn);
  }

  // The queries of panel p, where a tile needs them: most panels of a chunk may see nothing of a
  // block.
  void PackPanel(std::size_t p) {
    if (packed_queries_.IsPacked(p)) return;
    packed_queries_.Pack(p, gradient_, Buffers());
    const BackwardInputs& in = task_.inputs;
    const std::size_t at = p * kWidth<T>, n = std::min(kWidth<T>, queries_ - at);
    const RowsView d_lse = in.d_lse.given() ? HeadOf(in.d_lse) : RowsView{};
    statistics_.Read({HeadOf(in.log_sum), HeadOf(in.out), HeadOf(in.d_out), d_lse}, query_, at, n,
                     dim_v_, Buffers(), packed_queries_.GradientLanes(at),
                     gradient_.MultipliesPairs());
  }

  template <class View>
  RowsView HeadOf(const View& view) const {
    return RowsView::of(view, sequence_->batch, head_, sequence_->q_begin,
                        task_.layout->query_rows(sequence_index_, head_), prefetch_);
  }
  template <class View>
  RowsView KeyHead(const View& view, std::int32_t kv_head) const {
    const auto first_head = static_cast<std::int32_t>(kv_head * task_.group);
    return RowsView::of(view, sequence_->batch, kv_head, sequence_->k_begin,
                        task_.layout->key_rows(sequence_index_, first_head), prefetch_);
  }

  // P and dS of the chunk and groups [begin, end) of the block's keys, and what they add to dv, dk
  // and dq.
  void RunSubBlock(std::size_t begin, std::size_t end) {
    sub_key_ = begin * kRows;
    sub_group_ = begin;
    sub_groups_ = end - begin;
    if (!tiles_.Find(*task_.layout,
                     {sequence_index_, head_, query_, queries_,
                      key_begin_ + static_cast<std::int64_t>(sub_key_),
                      RoundUp(std::min(sub_groups_ * kRows, keys_ - sub_key_),
                              Ops::kMatrixUnit ? kRows : kPair),
                      sub_groups_},
                     statistics_.dead_rows()))
      return;
    bool zeros_may_meet_nan = Staged();
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t g = 0; g < sub_groups_; ++g) {
        if (tiles_.states[p][g] == plan::Seen::kAbsent) continue;
        PackPanel(p);
        RunTile(p, g);
        zeros_may_meet_nan |= tiles_.states[p][g] == plan::Seen::kPartial;
      }
    }
    ahead_.Finish();
    AccumulateKeyGradients(!packed_queries_.Finite() && zeros_may_meet_nan);
    if constexpr (Gradient::kIsProduct) {
      if (!dq_.wanted()) return;
      if constexpr (Ops::kMatrixUnit) {
        const Packed* keys =
            packed_keys_.PanelMemory() + sub_key_ / kPair * RoundUp(dim_, Ops::kStep);
        transposed_dq_.Add(keys, d_scores_by_query_, tiles_, sub_groups_, !packed_keys_.Finite(),
                           &dq_);
      } else {
        AccumulateQueryGradients(!packed_keys_.Finite() && zeros_may_meet_nan);
      }
    } else {
      const std::size_t keys = std::min(sub_groups_ * kRows, keys_ - sub_key_);
      gradient_.AddTiles(tiles_, queries_, sub_key_, keys, d_scores_,
                         {dq_.Row(0), dq_.panel_step()});
    }
  }

  BackwardTile<Ops> TileAt(std::size_t p, std::size_t g, Unsigned<T>* words) {
    const std::size_t group = sub_group_ + g, first_query = p * kWidth<T>;
    BackwardTile<Ops> tile;
    tile.keys = packed_keys_.KeyRows(group);
    tile.values = packed_keys_.ValueRows(group);
    tile.queries = packed_queries_.QueryLanes(first_query);
    tile.d_outs = packed_queries_.GradientLanes(first_query);
    tile.d_out_rows = packed_queries_.GradientRows().row(static_cast<std::int64_t>(first_query));
    tile.inner = inner_;
    tile.inner_v = inner_v_;
    tile.score_factor = static_cast<T>(task_.scale);
    tile.lanes = statistics_.lanes(first_query);
    if (tiles_.states[p][g] == plan::Seen::kPartial) {
      tile.words = tiles_.WordsOf(p, g, words);
      tile.lane = tiles_.seeing[p][g].template lane<T>();
    }
    const std::size_t at = (g * kRows * kQueries + first_query) / kPair;
    tile.weights = weights_ + at;
    tile.d_scores = d_scores_ + at;
    tile.d_scores_by_query = d_scores_by_query_ + g * kRows / kPair * kQueries + first_query;
    return tile;
  }

  HWY_INLINE void BetweenTiles() {
    item_prefetch_.Step();
    chunk_prefetch_.Step();
  }

  void RunTile(std::size_t p, std::size_t g) {
    BetweenTiles();
    if constexpr (Ops::kMatrixUnit) {
      if (!Staged()) return ahead_.Run(TileAt(p, g, ahead_.words()), queries_ - p * kWidth<T>);
    }
    BackwardTile<Ops> tile = TileAt(p, g, tile_words_);
    if (Ops::kMatrixUnit || queries_ % kPair != 0)
      HideBehind(queries_ - p * kWidth<T>, tile_words_, &tile);
    const std::size_t key = (sub_group_ + g) * kRows, first_query = p * kWidth<T>;
    if (!Gradient::kIsProduct || Staged()) {
      StagedBackwardTile(tile, gradient_, key, first_query, task_.stages, task_.weight_stages,
                         ScoreTileOf(first_query, g), staged_);
    } else if constexpr (Gradient::kIsProduct && !Ops::kMatrixUnit) {
      const bool partial = tiles_.states[p][g] == plan::Seen::kPartial;
      RunPlainTile(
          tile, RowsIn(g),
          partial ? tiles_.seeing[p][g].template narrow<T>() : queries_ - first_query <= kLanes<T>);
    }
  }

  std::size_t RowsIn(std::size_t g) const { return std::min(kRows, keys_ - sub_key_ - g * kRows); }
  bool Staged() const { return !task_.stages.empty() || !task_.weight_stages.empty(); }
  ScoreTile<T> ScoreTileOf(std::size_t first_query, std::size_t g) const {
    ScoreTile<T> tile =
        TileFrom<T>(*sequence_, query_ + static_cast<std::int64_t>(first_query),
                    key_begin_ + static_cast<std::int64_t>(sub_key_ + g * kRows), true);
    tile.rows = RowsIn(g);
    tile.lanes = std::min(kWidth<T>, queries_ - first_query);
    tile.head = head_;
    tile.slot = Slot();
    return tile;
  }
  std::size_t Slot() const {
    return static_cast<std::size_t>(
        (block_ * task_.sequences + static_cast<std::int64_t>(sequence_index_)) *
            task_.inputs.q.shape[1] +
        head_);
  }

  // dv += P^T dO and, where the score is a product, dk += dS^T Q, over the query panels that a key
  // group sees.
  void AccumulateKeyGradients(bool select) {
    Runs queries[kSubGroups];
    for (std::size_t g = 0; g < sub_groups_; ++g)
      tiles_.template FindQueries<kPair, Ops::kMatrixUnit>(g, queries_, &queries[g]);
    if (!select &&
        gradient_.WriteValueGradients(dv_, sub_group_, sub_groups_, keys_, queries, weights_,
                                      packed_queries_.GradientRows(), queries_))
      return;
    AddToKeys(weights_, packed_queries_.GradientPanels(), queries, select, dv_);
    if constexpr (Gradient::kIsProduct)
      AddToKeys(d_scores_, packed_queries_.QueryPanels(), queries, select, dk_);
  }

  // Column panel by column panel: one of them stays in L1 while all key groups pass.
  void AddToKeys(const Packed* rows, const Panels<Packed>& columns, const Runs* queries,
                 bool select, KeySums<Ops>& sums) {
    if (!sums.wanted()) return;
    for (std::size_t c = 0; c * kWidth<T> < sums.dim(); ++c) {
      for (std::size_t g = 0; g < sub_groups_; ++g) {
        if (queries[g].count == 0) continue;
        BetweenTiles();
        const std::size_t n = RowsIn(g);
        AddProduct<Ops, kQueries / kPair, 1>(
            rows + g * kRows * kQueries / kPair, columns.at(c), queries[g], n,
            FilledBy<Ops>(sums.dim() - c * kWidth<T>), select, sums.End(sub_group_ + g, c, n));
      }
    }
    for (std::size_t g = 0; g < sub_groups_; ++g) {
      if (queries[g].count != 0) sums.MarkAdded(sub_group_ + g);
    }
  }

  // dq += dS K, over the key groups that a query panel sees; neighbours that see the same go
  // together, in tiles without gaps.
  void AccumulateQueryGradients(bool select) {
    const Panels<Packed> panels = packed_keys_.KeyPanels().from(sub_key_ / kPair);
    const std::size_t sub_keys = std::min(keys_ - sub_key_, sub_groups_ * kRows);
    for (std::size_t p = 0, end; p < kPanels; p = end) {
      for (end = p + 1; end < kPanels && tiles_.SeeTheSame(p, end, sub_groups_) &&
                        dq_.state(p) == dq_.state(end);
           ++end) {
      }
      const std::size_t last = std::min(end * kWidth<T>, queries_);
      if (p * kWidth<T> >= last || !tiles_.SeesSome(p, sub_groups_)) continue;
      // Where tiles are partial, not all of the run's queries see all of its keys.
      const std::size_t step =
          tiles_.SeesPartly(p, end, sub_groups_) ? kRows : last - p * kWidth<T>;
      for (std::size_t i = p * kWidth<T>; i < last; i += step) {
        const std::size_t stop = std::min(last, i + step);
        const Runs keys = tiles_.template KeysOf<kPair>(i, stop, sub_groups_, sub_keys);
        for (std::size_t c = 0; c < panels_; ++c)
          AddToQueries(panels.at(c), keys, select, p, i, stop, c);
      }
      for (std::size_t done = p; done < end; ++done) dq_.MarkAdded(done);
    }
  }

  // dq[begin, end) of column panel c += dS[begin, end)^T (queries by keys) times `columns` (keys by
  // kWidth). Query panel p stands for all of them: they see the same keys.
  HWY_INLINE void AddToQueries(Columns<Packed> columns, const Runs& keys, bool select,
                               std::size_t p, std::size_t begin, std::size_t end, std::size_t c) {
    for (std::size_t i = begin; i < end; i += kRows) {
      BetweenTiles();
      const std::size_t n = std::min(kRows, end - i);
      AddProduct<Ops, 1, kQueries>(d_scores_by_query_ + i, columns, keys, n,
                                   FilledBy<Ops>(dim_ - c * kWidth<T>), select,
                                   dq_.End(p, i, c, n));
    }
  }

  // Adds the chunk's dq to the sum over blocks when its turn has come; the last block writes the
  // result.
  void AddQueries(std::int64_t chunk, const BackwardTurn& turn) {
    if (!dq_.wanted()) return;
    transposed_dq_.TransposeBack(dq_, zeros_);
    const bool first = turn.before == 0, last = turn.last;
    std::atomic<std::int32_t>* ticket = nullptr;
    if (!first || !last) {
      ticket =
          task_.tickets + task_.first_ticket[sequence_index_] + head_ * visits_.chunks() + chunk;
      while (!first && ticket->load(std::memory_order_acquire) != turn.before)
        std::this_thread::yield();
    }
    gradient_.FinishQueries(dq_, queries_);
    if (first && last) {
      dq_.Write(queries_, zeros_);
      return;
    }
    dq_.FillUp(queries_);
    const RowsView sum = HeadOf(task_.dq_sum), to = last ? HeadOf(task_.gradients.dq) : sum;
    for (std::size_t i = 0; i < queries_; ++i) {
      if (!packed_queries_.IsPacked(i / kWidth<T>) && !first && !last) continue;  // adds nothing
      if (i + kRowsAhead < queries_)
        PrefetchRows<true>(to, query_ + static_cast<std::int64_t>(i + kRowsAhead), 1, dim_);
      dq_.WriteOnto(i, first ? nullptr : &sum, to);
    }
    if (!last) ticket->store(static_cast<std::int32_t>(block_) + 1, std::memory_order_release);
  }

  // Writes dk and dv of the block; keys that nobody may read have none.
  void WriteKeys(std::int64_t own_end) {
    const std::size_t owned =
        static_cast<std::size_t>(std::max<std::int64_t>(0, own_end - key_begin_));
    dv_.Write(keys_, owned, zeros_);
    dk_.Write(keys_, owned, zeros_);
    gradient_.WriteKeys(keys_, owned, copies_, zeros_);
  }

  const BackwardTask& task_;
  const std::size_t dim_, dim_v_, inner_, inner_v_, panels_, panels_v_, copy_stride_, most_keys_,
      groups_;
  BlockKeys<Gradient> packed_keys_;
  ChunkQueries<Gradient> packed_queries_;
  Packed *weights_, *d_scores_, *d_scores_by_query_;
  OnlyWhere<Gradient::kIsProduct, KeySums, Ops> dk_;
  KeySums<Ops> dv_;
  QuerySums<Ops> dq_;
  // Where a matrix unit multiplies.
  OnlyWhere<Ops::kMatrixUnit, TransposedDq, Ops> transposed_dq_;
  OnlyWhere<Ops::kMatrixUnit, TilesAhead, Ops> ahead_;
  T *copies_, *zeros_;
  Unsigned<T>* tile_words_;
  StagedTiles<T> staged_{};
  Gradient gradient_;
  BackwardStatistics<Ops> statistics_;
  std::size_t bytes_ = 0;

  // The block, head, chunk and sub-block at hand.
  std::size_t sequence_index_ = 0, keys_ = 0, block_groups_ = 0, queries_ = 0, sub_key_ = 0,
              sub_group_ = 0, sub_groups_ = 0;
  const plan::Sequence* sequence_ = nullptr;
  std::int64_t block_ = 0, block_keys_ = 0, key_begin_ = 0, query_ = 0;
  std::int32_t head_ = 0;
  BackwardVisits visits_;  // of the head
  bool prefetch_ = false;  // the rows of the sequence
  Tiles tiles_;
  ItemPrefetch item_prefetch_;
  ChunkPrefetch chunk_prefetch_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
