// The backward pass of one work item: a block of keys keeps its dk and dv while chunks of queries pass by.
//
// Tiles have keys as rows and queries as lanes, so that P and dS are stored once and serve dv, dk and dq without a transpose. The dq of a
// chunk gathers over the whole block and is added once to the sum over blocks, in the order of the blocks.

#if defined(REGARD_KERNELS_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_INL_H_
#undef REGARD_KERNELS_BACKWARD_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <thread>

#include "core/kernels/backward_tile-inl.h"
#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/ops-inl.h"
#include "core/kernels/panels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Gradient>
class Backward {
  using Ops = typename Gradient::Ops;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr std::size_t kPair = Ops::kPair;
  static constexpr std::size_t kQueries = static_cast<std::size_t>(kQueryChunk);
  static constexpr std::size_t kPanels = kQueries / kWidth<T>;  // query panels of a chunk
  static constexpr std::size_t kSubKeys = 96;                   // keys whose P and dS are at hand at a time
  static constexpr std::size_t kSubGroups = kSubKeys / kRows;
  static constexpr std::size_t kUnits = kQueries / static_cast<std::size_t>(plan::kRowUnit);
  static_assert(kQueries % kWidth<T> == 0 && kSubKeys % kRows == 0 && kQueries % plan::kRowUnit == 0);

 public:
  static std::size_t ScratchBytes(const BackwardTask& task) { return Backward(task, nullptr).bytes_; }
  static void Run(const BackwardTask& task, std::size_t item, std::byte* scratch) { Backward(task, scratch).RunItem(task.items[item]); }

 private:
  Backward(const BackwardTask& task, std::byte* scratch) : Backward(task, Carve(scratch)) {}

  Backward(const BackwardTask& task, Carve carve)
      : task_(task),
        dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        dim_v_(static_cast<std::size_t>(task.inputs.v.shape[3])),
        inner_(Gradient::Inner(dim_)),
        inner_v_((dim_v_ + kPair - 1) / kPair),
        panels_((dim_ + kWidth<T> - 1) / kWidth<T>),
        panels_v_((dim_v_ + kWidth<T> - 1) / kWidth<T>),
        copy_stride_(CopyStride(std::max(dim_, dim_v_))),
        most_keys_(static_cast<std::size_t>(most_block_keys(task.inputs.q.shape[3], task.inputs.v.shape[3]))),
        groups_(most_keys_ / kRows),
        rows_stride_(RoundUp(inner_ * kRows + 4, 32)),
        rows_stride_v_(RoundUp(inner_v_ * kRows + 4, 32)),
        gradient_(task, most_keys_, carve) {
    key_rows_ = carve.Take<Packed>(groups_ * rows_stride_);
    value_rows_ = carve.Take<Packed>(groups_ * rows_stride_v_);
    key_panels_ = carve.Take<Packed>(panels_ * (most_keys_ / kPair) * kWidth<T>);
    dk_ = carve.Take<T>(groups_ * panels_ * kRows * kWidth<T>);
    dv_ = carve.Take<T>(groups_ * panels_v_ * kRows * kWidth<T>);
    query_lanes_ = carve.Take<Packed>(kQueries * inner_);
    d_out_lanes_ = carve.Take<Packed>(kQueries * inner_v_);
    query_panels_ = carve.Take<Packed>(panels_ * (kQueries / kPair) * kWidth<T>);
    d_out_panels_ = carve.Take<Packed>(panels_v_ * (kQueries / kPair) * kWidth<T>);
    weights_ = carve.Take<Packed>(kSubKeys * kQueries / kPair);
    d_scores_ = carve.Take<Packed>(kSubKeys * kQueries / kPair);
    d_scores_by_query_ = Ops::kSeparateByQuery ? carve.Take<Packed>(kSubKeys * kQueries / kPair) : d_scores_;
    dq_ = carve.Take<T>(kQueries * panels_ * kWidth<T>);
    maximum_ = carve.Take<T>(kQueries);
    inverse_sum_ = carve.Take<T>(kQueries);
    shift_ = carve.Take<T>(kQueries);
    words_ = carve.Take<std::uint64_t>(kPanels * 2 * kWidth<T>);
    tile_words_ = carve.Take<Unsigned<T>>(kWidth<T>);
    staged_.tile = carve.Take<T>(kRows * kWidth<T>);
    staged_.factors = carve.Take<T>(kRows * kWidth<T>);
    staged_.d_factors = carve.Take<T>(kRows * kWidth<T>);
    staged_.kept = carve.Take<T>(task.stages.size() * kRows * kWidth<T>);
    copies_ = carve.Take<T>(std::max(kWidth<T>, kRows) * copy_stride_);
    zeros_ = carve.Take<T>(copy_stride_);
    bytes_ = carve.bytes();
  }

  void RunItem(const BackwardItem& item) {
    std::fill_n(zeros_, copy_stride_, T{0});
    for (std::int64_t block = item.block_begin; block < item.block_end; ++block) {
      for (std::int32_t s = item.sequence_begin; s < item.sequence_end; ++s) {
        for (std::int32_t kv = item.kv_begin; kv < item.kv_end; ++kv) RunBlock(block, s, kv);
      }
    }
  }

  void RunBlock(std::int64_t block, std::int32_t s, std::int32_t kv_head) {
    sequence_index_ = static_cast<std::size_t>(s);
    sequence_ = &task_.layout->sequences[sequence_index_];
    block_ = block;
    block_keys_ = block_keys(task_.inputs.q.shape[3], task_.inputs.v.shape[3], sequence_->k_rows);
    key_begin_ = block * block_keys_;
    const std::int64_t own_end = std::min(key_begin_ + block_keys_, sequence_->k_rows);
    if (key_begin_ > 0 && key_begin_ >= sequence_->k_rows) return;
    keys_ = static_cast<std::size_t>(std::max<std::int64_t>(0, std::min(own_end, sequence_->len_k) - key_begin_));
    PackKeys(kv_head);
    for (std::int64_t head = kv_head * task_.group; head < (kv_head + 1) * task_.group; ++head) {
      head_ = static_cast<std::int32_t>(head);
      // From the last chunk to the first: under a causal mask all blocks see the last, so blocks side by side start together.
      for (std::int64_t chunk = Chunks() - 1; chunk >= 0; --chunk) RunChunk(chunk);
      if constexpr (!Gradient::kIsProduct) gradient_.EndHead(sequence_->batch, head_, Slot(), keys_, dk_);
    }
    WriteKeys(kv_head, own_end);
  }

  std::int64_t Chunks() const { return (sequence_->len_q + kQueryChunk - 1) / kQueryChunk; }

  void PackKeys(std::int32_t kv_head) {
    const Head k = Head::of(task_.inputs.k, sequence_->batch, kv_head, sequence_->k_begin);
    const Head v = Head::of(task_.inputs.v, sequence_->batch, kv_head, sequence_->k_begin);
    block_groups_ = (keys_ + kRows - 1) / kRows;
    for (std::size_t g = 0; g < block_groups_; ++g) {
      const std::int64_t key = key_begin_ + static_cast<std::int64_t>(g * kRows);
      const std::size_t n = std::min(kRows, keys_ - g * kRows);
      Ops::PackRowsOf(v, key, n, dim_v_, T{1}, copies_, copy_stride_, zeros_, value_rows_ + g * rows_stride_v_);
    }
    keys_finite_ = gradient_.PackKeys(k, key_begin_, keys_, {copies_, copy_stride_, zeros_}, key_rows_, rows_stride_, key_panels_, KeyPanelStride());
    std::fill_n(dk_, block_groups_ * panels_ * kRows * kWidth<T>, T{0});
    std::fill_n(dv_, block_groups_ * panels_v_ * kRows * kWidth<T>, T{0});
  }

  std::size_t KeyPanelStride() const { return most_keys_ / kPair * kWidth<T>; }
  static constexpr std::size_t QueryPanelStride() { return kQueries / kPair * kWidth<T>; }

  // The keys that a chunk's rows see lie in this range.
  BackwardTask::KeyRange RangeOf(std::int64_t chunk) const {
    if (task_.chunk_keys.empty()) return {0, static_cast<std::int32_t>(sequence_->len_k)};
    const auto heads = static_cast<std::size_t>(task_.layout->mask_heads);
    const auto mask_head = static_cast<std::size_t>(task_.layout->mask_head(head_));
    return task_.chunk_keys[static_cast<std::size_t>(task_.first_chunk[sequence_index_ * heads + mask_head] + chunk)];
  }

  void RunChunk(std::int64_t chunk) {
    const BackwardTask::KeyRange range = RangeOf(chunk);
    const std::int64_t key_end = key_begin_ + static_cast<std::int64_t>(keys_);
    const bool nothing = range.begin >= range.end;
    if (nothing ? block_ != 0 : (range.end <= key_begin_ || range.begin >= key_end)) return;
    query_ = chunk * kQueryChunk;
    queries_ = static_cast<std::size_t>(std::min(kQueryChunk, sequence_->len_q - query_));
    std::fill_n(dq_, kQueries * panels_ * kWidth<T>, T{0});
    if (!nothing) {
      PackQueries();
      const std::size_t first = range.begin <= key_begin_ ? 0 : static_cast<std::size_t>(range.begin - key_begin_) / kSubKeys * kSubKeys;
      const std::size_t last = std::min<std::size_t>(keys_, static_cast<std::size_t>(range.end - key_begin_));
      for (std::size_t key = first; key < last; key += kSubKeys) RunSubBlock(key);
    }
    AddQueries(chunk, range);
  }

  void PackQueries() {
    const Tag<T> d;
    const BackwardInputs& in = task_.inputs;
    const Head q = HeadOf(in.q), d_out = HeadOf(in.d_out), out = HeadOf(in.out);
    for (std::size_t p = 0; p < kPanels; ++p) {
      const std::size_t at = p * kWidth<T>;
      const std::size_t n = at < queries_ ? std::min(kWidth<T>, queries_ - at) : 0;
      if (n == 0) break;
      const std::int64_t i = query_ + static_cast<std::int64_t>(at);
      Ops::PackLanesOf(d_out, i, n, dim_v_, T{1}, copies_, copy_stride_, zeros_, d_out_lanes_ + at * inner_v_);
    }
    const std::size_t padded = RoundUp(queries_, kWidth<T>);
    queries_finite_ = gradient_.PackQueries(q, query_, queries_, {copies_, copy_stride_, zeros_}, query_lanes_, query_panels_, QueryPanelStride());
    queries_finite_ &= Ops::PackPanelsOf(d_out, query_, queries_, padded, dim_v_, QueryPanelStride(), T{1}, copies_, copy_stride_, zeros_, d_out_panels_);
    const Head maximum = HeadOf(in.maximum), log_sum = HeadOf(in.log_sum), d_lse = in.d_lse.given() ? HeadOf(in.d_lse) : Head{};
    some_row_is_dead_ = false;
    for (std::size_t i = 0; i < kQueries; ++i) {
      maximum_[i] = inverse_sum_[i] = shift_[i] = T{0};
      if (i >= queries_) continue;
      const std::int64_t row = query_ + static_cast<std::int64_t>(i);
      maximum_[i] = static_cast<const T*>(maximum.base)[row * maximum.row];
      // In double: the forward pass divided by the sum itself, of which the saved logarithm has the first digits only.
      inverse_sum_[i] = static_cast<T>(std::exp(-static_cast<double>(static_cast<const T*>(log_sum.base)[row * log_sum.row])));
      some_row_is_dead_ |= Dead(i);
      // delta = rowsum(dO * O)
      CopyRow(out, row, dim_v_, copies_);
      CopyRow(d_out, row, dim_v_, copies_ + copy_stride_);
      auto sum = hn::Zero(d);
      for (std::size_t c = dim_v_; c % kLanes<T> != 0; ++c) copies_[c] = copies_[copy_stride_ + c] = T{0};
      for (std::size_t c = 0; c < dim_v_; c += kLanes<T>) sum = hn::MulAdd(hn::Load(d, copies_ + c), hn::Load(d, copies_ + copy_stride_ + c), sum);
      const T delta = hn::GetLane(hn::SumOfLanes(d, sum));
      shift_[i] = (d_lse.base != nullptr ? static_cast<const T*>(d_lse.base)[row * d_lse.row] : T{0}) - delta;
    }
  }

  template <class View>
  Head HeadOf(const View& view) const {
    return Head::of(view, sequence_->batch, head_, sequence_->q_begin);
  }
  // A row that sees no key has no maximum and no gradient.
  bool Dead(std::size_t query) const { return maximum_[query] == -std::numeric_limits<T>::infinity(); }

  // P and dS of the chunk and keys [key, key + kSubKeys) of the block, and what they add to dv, dk and dq.
  void RunSubBlock(std::size_t key) {
    sub_key_ = key;
    sub_group_ = key / kRows;
    sub_groups_ = std::min(kSubGroups, block_groups_ - sub_group_);
    FindTiles();
    bool some_partial = false;
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t g = 0; g < sub_groups_; ++g) {
        if (states_[p][g] == State::kAbsent) continue;
        RunTile(p, g);
        some_partial |= states_[p][g] == State::kPartial;
      }
    }
    const bool zeros_may_meet_nan = some_partial || Staged();
    GatherKeys(!queries_finite_ && zeros_may_meet_nan);
    if constexpr (Gradient::kIsProduct) {
      if (task_.gradients.dq.given()) GatherQueries(!keys_finite_ && zeros_may_meet_nan);
    } else {
      GatherPairs();
    }
  }

  enum class State : std::uint8_t { kAbsent, kPartial, kFull };

  // Which (query panel, key group) tiles exist, from the plan's row units.
  void FindTiles() {
    bool any[kUnits][kSubGroups] = {}, full[kUnits][kSubGroups] = {};
    const std::int64_t begin = key_begin_ + static_cast<std::int64_t>(sub_key_);
    const std::int64_t end = begin + static_cast<std::int64_t>(sub_groups_ * kRows);
    const std::int64_t first_unit = query_ / plan::kRowUnit;
    const std::size_t units = (queries_ + plan::kRowUnit - 1) / plan::kRowUnit;
    for (std::size_t u = 0; u < units; ++u) {
      const auto intervals = task_.layout->unit(sequence_index_, head_, first_unit + static_cast<std::int64_t>(u));
      for (auto i = FirstBehind(intervals, begin); i != intervals.end() && i->begin < end; ++i) {
        const std::size_t from = static_cast<std::size_t>(std::max<std::int64_t>(i->begin - begin, 0));
        const std::size_t to = static_cast<std::size_t>(std::min<std::int64_t>(i->end, end) - begin);
        for (std::size_t g = from / kRows; g * kRows < to; ++g) {
          any[u][g] = true;
          full[u][g] |= i->full && g * kRows >= from && (g + 1) * kRows <= to;
        }
      }
    }
    for (std::size_t p = 0; p < kPanels; ++p) {
      const std::size_t from = p * kWidth<T> / plan::kRowUnit;
      const std::size_t to = std::min(units, ((p + 1) * kWidth<T> - 1) / plan::kRowUnit + 1);
      bool words_made = false;
      for (std::size_t g = 0; g < sub_groups_; ++g) {
        bool some = false, all = true;
        for (std::size_t u = from; u < to; ++u) {
          some |= any[u][g];
          all &= full[u][g];
        }
        states_[p][g] = !some || p * kWidth<T> >= queries_ ? State::kAbsent : all && !some_row_is_dead_ ? State::kFull : State::kPartial;
        if (states_[p][g] == State::kPartial && !words_made) {
          MakeWords(p, begin);
          words_made = true;
        }
      }
    }
  }

  // Visible keys [begin, begin + 128) of the queries of panel p.
  void MakeWords(std::size_t p, std::int64_t begin) {
    std::uint64_t* words = words_ + p * 2 * kWidth<T>;
    for (std::size_t half = 0; half < 2; ++half) {
      task_.layout->bits(sequence_index_, head_, query_ + static_cast<std::int64_t>(p * kWidth<T>), static_cast<int>(kWidth<T>),
                         begin + static_cast<std::int64_t>(half * 64), words + half * kWidth<T>);
    }
    for (std::size_t i = 0; i < kWidth<T>; ++i) {
      const std::size_t query = p * kWidth<T> + i;
      if (query < queries_ && Dead(query)) words[i] = words[kWidth<T> + i] = 0;
    }
  }

  void RunTile(std::size_t p, std::size_t g) {
    const std::size_t group = sub_group_ + g, first_query = p * kWidth<T>;
    BackwardTile<Ops> tile;
    tile.keys = key_rows_ + group * rows_stride_;
    tile.values = value_rows_ + group * rows_stride_v_;
    tile.queries = query_lanes_ + first_query * inner_;
    tile.d_outs = d_out_lanes_ + first_query * inner_v_;
    tile.inner = inner_;
    tile.inner_v = inner_v_;
    tile.score_factor = static_cast<T>(task_.scale);
    tile.lanes = {maximum_ + first_query, inverse_sum_ + first_query, shift_ + first_query};
    tile.words = nullptr;
    if (states_[p][g] == State::kPartial) {
      const std::uint64_t* words = words_ + p * 2 * kWidth<T>;
      const std::size_t shift = g * kRows;
      constexpr std::uint64_t kLow = (std::uint64_t{1} << kRows) - 1;
      for (std::size_t i = 0; i < kWidth<T>; ++i) {
        const std::uint64_t low = words[i], high = words[kWidth<T> + i];
        const std::uint64_t bits = shift == 0 ? low : shift < 64 ? (low >> shift | high << (64 - shift)) : high >> (shift - 64);
        tile_words_[i] = static_cast<Unsigned<T>>(bits & kLow);
      }
      tile.words = tile_words_;
    }
    const std::size_t at = (g * kRows * kQueries + first_query) / kPair;
    tile.weights = weights_ + at;
    tile.d_scores = d_scores_ + at;
    tile.d_scores_by_query = d_scores_by_query_ + g * kRows / kPair * kQueries + first_query;
    if (!Gradient::kIsProduct || Staged()) {
      StagedBackwardTile(tile, gradient_, group * kRows, first_query, task_.stages, task_.weight_stages, PlaceOf(first_query, g), staged_);
    } else if constexpr (Gradient::kIsProduct) {
      if (tile.words != nullptr) {
        PlainBackwardTile<Ops, kRows, true>(tile);
      } else {
        PlainBackwardTile<Ops, kRows, false>(tile);
      }
    }
  }

  bool Staged() const { return !task_.stages.empty() || !task_.weight_stages.empty(); }

  ScoreTile<T> PlaceOf(std::size_t first_query, std::size_t g) const {
    ScoreTile<T> place{};
    place.rows = std::min(kRows, keys_ - sub_key_ - g * kRows);
    place.lanes = std::min(kWidth<T>, queries_ - first_query);
    place.i = query_ + static_cast<std::int64_t>(first_query);
    place.j = key_begin_ + static_cast<std::int64_t>(sub_key_ + g * kRows);
    place.query = sequence_->q_begin + place.i;
    place.key = sequence_->k_begin + place.j;
    place.i += sequence_->i_begin;
    place.j += sequence_->j_begin;
    place.offset = sequence_->offset;
    place.step = 1;
    place.batch = sequence_->batch;
    place.head = head_;
    place.rows_are_keys = true;
    place.slot = Slot();
    return place;
  }
  std::size_t Slot() const {
    return static_cast<std::size_t>((block_ * task_.sequences + static_cast<std::int64_t>(sequence_index_)) * task_.inputs.q.shape[1] + head_);
  }

  // dv += P^T dO and, where the score is a product, dk += dS^T Q, over each run of query panels that a key group sees.
  void GatherKeys(bool select) {
    for (std::size_t g = 0; g < sub_groups_; ++g) {
      for (std::size_t p = 0; p < kPanels; ++p) {
        if (states_[p][g] == State::kAbsent) continue;
        std::size_t end = p + 1;
        while (end < kPanels && states_[end][g] != State::kAbsent) ++end;
        GatherRun(g, p * kWidth<T>, std::min(end * kWidth<T>, RoundUp(queries_, kPair)), select);
        p = end;
      }
    }
  }

  void GatherRun(std::size_t g, std::size_t from, std::size_t to, bool select) {
    const std::size_t group = sub_group_ + g;
    const std::size_t at = (g * kRows * kQueries + from) / kPair, inner = (to - from) / kPair;
    for (std::size_t c = 0; c < panels_v_; ++c) {
      AddProduct<Ops, kQueries / kPair, 1>(weights_ + at, d_out_panels_ + c * QueryPanelStride() + from / kPair * kWidth<T>, inner, kRows,
                                      NarrowTail(c, dim_v_), select, dv_ + (group * panels_v_ + c) * kRows * kWidth<T>);
    }
    if constexpr (!Gradient::kIsProduct) return;
    for (std::size_t c = 0; c < panels_; ++c) {
      AddProduct<Ops, kQueries / kPair, 1>(d_scores_ + at, query_panels_ + c * QueryPanelStride() + from / kPair * kWidth<T>, inner, kRows,
                                      NarrowTail(c, dim_), select, dk_ + (group * panels_ + c) * kRows * kWidth<T>);
    }
  }

  // dq and dk of a score that is no product, pair by pair, over each run of key groups that a query panel sees.
  void GatherPairs() {
    for (std::size_t p = 0; p < kPanels; ++p) {
      const std::size_t query = p * kWidth<T>;
      for (std::size_t g = 0; g < sub_groups_; ++g) {
        if (states_[p][g] == State::kAbsent) continue;
        std::size_t end = g + 1;
        while (end < sub_groups_ && states_[p][end] != State::kAbsent) ++end;
        const std::size_t key = sub_key_ + g * kRows, last = std::min(sub_key_ + end * kRows, keys_);
        gradient_.AddPairs(query, std::min(kWidth<T>, queries_ - query), key, last - key, d_scores_ + g * kRows * kQueries + query,
                           {query_panels_, QueryPanelStride()}, {key_panels_, KeyPanelStride()}, {dq_, kQueries * kWidth<T>});
        g = end;
      }
    }
  }

  // dq += dS K, over each run of key groups that a query panel sees.
  void GatherQueries(bool select) {
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t g = 0; g < sub_groups_; ++g) {
        if (states_[p][g] == State::kAbsent) continue;
        std::size_t end = g + 1;
        while (end < sub_groups_ && states_[p][end] != State::kAbsent) ++end;
        const std::size_t inner = (end - g) * kRows / kPair;
        const Packed* keys = key_panels_ + (sub_key_ + g * kRows) / kPair * kWidth<T>;
        const std::size_t last = std::min((p + 1) * kWidth<T>, queries_);
        for (std::size_t i = p * kWidth<T>; i < last; i += kRows) {
          const std::size_t rows = std::min(kRows, std::min((p + 1) * kWidth<T>, kQueries) - i);
          const Packed* d_scores = d_scores_by_query_ + g * kRows / kPair * kQueries + i;
          for (std::size_t c = 0; c < panels_; ++c) {
            AddProduct<Ops, 1, kQueries>(d_scores, keys + c * KeyPanelStride(), inner, rows, NarrowTail(c, dim_), select, DqTile(i, c));
          }
        }
        g = end;
      }
    }
  }

  // Rows of dq from query i on; tiles of a dim panel follow one another, so that a tile may begin at any row.
  T* DqTile(std::size_t i, std::size_t panel) const { return dq_ + (panel * kQueries + i) * kWidth<T>; }

  static bool NarrowTail(std::size_t panel, std::size_t dim) { return dim - panel * kWidth<T> <= kLanes<T>; }

  // Adds the chunk's dq to the sum over blocks when its turn has come; the last block writes the result.
  void AddQueries(std::int64_t chunk, const BackwardTask::KeyRange& range) {
    if (!task_.gradients.dq.given()) return;
    const bool nothing = range.begin >= range.end;
    const bool first = nothing || range.begin >= key_begin_;
    const bool last = nothing || range.end <= key_begin_ + block_keys_;
    std::atomic<std::int32_t>* ticket = nullptr;
    if (!first || !last) {
      ticket = task_.tickets + task_.first_ticket[sequence_index_] + head_ * Chunks() + chunk;
      while (!first && ticket->load(std::memory_order_acquire) != static_cast<std::int32_t>(block_)) std::this_thread::yield();
    }
    const Head to = HeadOf(task_.gradients.dq);
    const Head sum = first && last ? Head{} : HeadOf(task_.dq_sum);
    T* row = copies_;
    for (std::size_t i = 0; i < queries_; ++i) {
      const std::int64_t at = query_ + static_cast<std::int64_t>(i);
      for (std::size_t c = 0; c < panels_; ++c) std::copy_n(DqTile(i, c), kWidth<T>, row + c * kWidth<T>);
      gradient_.FinishQuery(row, sequence_->batch, head_);
      if (!first) {
        T* before = copies_ + copy_stride_;
        CopyRow(sum, at, dim_, before);
        for (std::size_t c = 0; c < dim_; ++c) row[c] += before[c];
      }
      WriteRow(row, last ? to : sum, at, dim_);
    }
    if (!last) ticket->store(static_cast<std::int32_t>(block_) + 1, std::memory_order_release);
  }

  // Writes dk and dv of the block; keys that nobody may read have none.
  void WriteKeys(std::int32_t kv_head, std::int64_t own_end) {
    const Gradients& to = task_.gradients;
    const std::size_t owned = static_cast<std::size_t>(std::max<std::int64_t>(0, own_end - key_begin_));
    if (to.dk.given()) {
      WriteGradient(Head::of(to.dk, sequence_->batch, kv_head, sequence_->k_begin), owned, dk_, panels_, dim_,
                    Gradient::kIsProduct ? static_cast<T>(task_.scale) : T{1});
    }
    if (to.dv.given()) WriteGradient(Head::of(to.dv, sequence_->batch, kv_head, sequence_->k_begin), owned, dv_, panels_v_, dim_v_, T{1});
  }

  void WriteGradient(const Head& to, std::size_t owned, const T* tiles, std::size_t panels, std::size_t dim, T scale) {
    for (std::size_t j = 0; j < owned; ++j) {
      T* row = copies_;
      if (j < keys_) {
        for (std::size_t c = 0; c < panels; ++c) {
          std::copy_n(tiles + ((j / kRows * panels + c) * kRows + j % kRows) * kWidth<T>, kWidth<T>, row + c * kWidth<T>);
        }
        for (std::size_t c = 0; c < dim; ++c) row[c] = row[c] * scale + T{0};  // never -0, whose sign would tell who shared the tile
      }
      WriteRow(j < keys_ ? row : zeros_, to, key_begin_ + static_cast<std::int64_t>(j), dim);
    }
  }

  const BackwardTask& task_;
  const std::size_t dim_, dim_v_, inner_, inner_v_, panels_, panels_v_, copy_stride_, most_keys_, groups_, rows_stride_, rows_stride_v_;
  Packed *key_rows_, *value_rows_, *key_panels_, *query_lanes_, *d_out_lanes_, *query_panels_, *d_out_panels_;
  Packed *weights_, *d_scores_, *d_scores_by_query_;
  T *dk_, *dv_, *dq_, *maximum_, *inverse_sum_, *shift_, *copies_, *zeros_;
  std::uint64_t* words_;
  Unsigned<T>* tile_words_;
  StagedScratch<T> staged_{};
  Gradient gradient_;
  std::size_t bytes_ = 0;

  // The block, head, chunk and sub-block at hand.
  std::size_t sequence_index_ = 0, keys_ = 0, block_groups_ = 0, queries_ = 0, sub_key_ = 0, sub_group_ = 0, sub_groups_ = 0;
  const plan::Sequence* sequence_ = nullptr;
  std::int64_t block_ = 0, block_keys_ = 0, key_begin_ = 0, query_ = 0;
  std::int32_t head_ = 0;
  bool keys_finite_ = true, queries_finite_ = true, some_row_is_dead_ = false;
  State states_[kPanels][kSubGroups];
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
