// SPDX-License-Identifier: Apache-2.0
// The decode pass: few queries against many keys, which are read once and as they lie.
//
// An item takes the queries of the heads that share a kv head over some parts of its keys, 64 keys
// at a time: scores, modifiers, mask, softmax, values. Each part gives a state per row; states are
// merged from the first part to the last, by the item that ends last where several share a head.
// Memory is the limit: the next block is prefetched while one is computed.

#if defined(REGARD_KERNELS_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_DECODE_INL_H_
#undef REGARD_KERNELS_DECODE_INL_H_
#else
#define REGARD_KERNELS_DECODE_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "core/kernels/carve.h"
#include "core/kernels/decode/cached_rows-inl.h"
#include "core/kernels/decode/decode_rows-inl.h"
#include "core/kernels/decode/decode_state-inl.h"
#include "core/kernels/decode/float_products-inl.h"
#include "core/kernels/decode_task.h"
#include "core/kernels/forward/statistics-inl.h"
#include "core/kernels/stages/sinks-inl.h"
#include "core/kernels/stages/stages-inl.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// How queries and keys, weights and values are multiplied is `Products`' (float_products-inl.h,
// pair_products-inl.h).
template <class Products>
class Decode {
  using T = float;
  static constexpr std::size_t kMostRows = static_cast<std::size_t>(kDecodeRows);

 public:
  static std::size_t ScratchBytes(const DecodeTask& task) {
    return Decode(task, Carve(nullptr)).bytes_;
  }
  static void Run(const DecodeTask& task, std::size_t item, std::byte* scratch) {
    Decode(task, Carve(scratch)).RunItem(task.items[item]);
  }

 private:
  // One (query head, at most kRows queries), whose scores lie in `rows` rows from row `first` on,
  // and how its rows see a block.
  struct Tile {
    std::int32_t head;
    std::int64_t query;
    std::size_t first, rows;
  };
  enum class Sight : std::uint8_t { kNothing, kSome, kAll };

  Decode(const DecodeTask& task, Carve carve)
      : task_(task),
        pass_(*task.pass),
        dim_(static_cast<std::size_t>(task.dim)),
        dim_v_(static_cast<std::size_t>(task.dim_v)),
        cols_(RoundUp(dim_, kLanes<T>)),
        cols_v_(RoundUp(dim_v_, kLanes<T>)),
        stride_(task.state_stride),
        products_(task, carve) {
    scores_ = carve.Take<T>(kMostRows * kDecodeBlock);
    factors_ = carve.Take<T>(kRows * kWidth<T>);
    state_ = carve.Take<T>(kMostRows * stride_);
    merged_ = carve.Take<T>(kMostRows * stride_);
    sums_ = carve.Take<T>(kMostRows * kLanes<T>);
    words_ = carve.Take<std::uint64_t>(kMostRows);
    copies_ = carve.Take<T>(2 * kDecodeBlock * std::max(cols_, cols_v_));
    tiles_ = carve.Take<Tile>(kMostRows);
    cursors_ = carve.Take<std::size_t>(kMostRows);
    bytes_ = carve.bytes();
  }

  void RunItem(const DecodeItem& item) {
    item_ = &item;
    sequence_ = &pass_.layout->sequences[static_cast<std::size_t>(item.sequence)];
    Start();
    [[maybe_unused]] const typename Products::Session session(rows_);
    const std::int64_t len_k = sequence_->len_k, part_keys = decode_part_keys(len_k);
    const auto parts = static_cast<std::int32_t>((len_k + part_keys - 1) / part_keys);
    item_end_ = std::min(len_k, item.part_end * part_keys);
    const bool alone = item.countdown < 0;
    for (std::size_t r = 0; r < rows_; ++r) Merged(r).maximum() = kMinusInfinity<T>;
    for (std::int32_t part = item.part_begin; part < item.part_end; ++part) {
      T* state = alone && parts == 1 ? merged_ : state_;
      RunPart(part * part_keys, std::min(len_k, (part + 1) * part_keys), state);
      if (!alone) {
        std::copy_n(state_, rows_ * stride_, StateOf(part));
      } else if (parts > 1) {
        for (std::size_t r = 0; r < rows_; ++r)
          MergeRow(RowState{state_ + r * stride_, cols_v_}, Merged(r));
      }
    }
    if (!alone) {
      // The last item to end finds what the others have written.
      if (task_.countdowns[item.countdown].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      for (std::int32_t part = 0; part < parts; ++part) {
        for (std::size_t r = 0; r < rows_; ++r)
          MergeRow(RowState{StateOf(part) + r * stride_, cols_v_}, Merged(r));
      }
    }
    Finish();
  }

  RowState Merged(std::size_t r) const { return {merged_ + r * stride_, cols_v_}; }
  T* StateOf(std::int32_t part) const {
    return task_.states + (item_->first_state + part * static_cast<std::int64_t>(rows_)) *
                              static_cast<std::int64_t>(stride_);
  }

  // The item's rows: its heads one after another, and their queries.
  void Start() {
    const auto len_q = static_cast<std::size_t>(sequence_->len_q);
    tile_count_ = rows_ = 0;
    for (std::int32_t head = item_->head_begin; head < item_->head_end; ++head) {
      const RowsView q = RowsView::of(pass_.inputs.q, sequence_->batch, head, sequence_->q_begin);
      for (std::size_t i = 0; i < len_q; ++i)
        products_.StoreQuery(q, static_cast<std::int64_t>(i), rows_ + i, task_.k.dtype);
      // A tile has the rows of one unit of the plan at most.
      for (std::size_t i = 0; i < len_q; i += kRows) {
        const std::size_t n = std::min(kRows, len_q - i);
        tiles_[tile_count_++] = {head, static_cast<std::int64_t>(i), rows_ + i, n};
      }
      rows_ += len_q;
    }
    keys_ = CachedRows(task_.k, task_.pages, *sequence_, item_->kv_head, dim_);
    values_ = CachedRows(task_.v, task_.pages, *sequence_, item_->kv_head, dim_v_);
  }

  void RunPart(std::int64_t begin, std::int64_t end, T* state) {
    state_of_part_ = state;
    for (std::size_t r = 0; r < rows_; ++r) {
      Clear(state + r * stride_, cols_v_);
      Row(r).maximum() = kMinusInfinity<T>;
    }
    Clear(sums_, rows_ * kLanes<T>);
    std::fill_n(cursors_, tile_count_, std::size_t{0});
    for (std::int64_t block = begin; block < end;
         block += static_cast<std::int64_t>(kDecodeBlock)) {
      const auto n = static_cast<std::size_t>(
          std::min<std::int64_t>(end - block, static_cast<std::int64_t>(kDecodeBlock)));
      bool all = n == kDecodeBlock;
      if (Look(block, n, &all)) RunBlock(block, n, all);
    }
    for (std::size_t r = 0; r < rows_; ++r)
      Row(r).sum() =
          hn::GetLane(hn::SumOfLanes(Tag<T>(), hn::Load(Tag<T>(), sums_ + r * kLanes<T>)));
  }
  RowState Row(std::size_t r) const { return {state_of_part_ + r * stride_, cols_v_}; }

  // Which keys of a block each row sees, as bits in words_; whether any row sees any. `all` stays
  // where all rows see all keys.
  bool Look(std::int64_t block, std::size_t n, bool* all) {
    const std::uint64_t inside = n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
    if (pass_.layout->mask == nullptr) {
      if (!*all) std::fill_n(words_, rows_, inside);
      return true;
    }
    bool any = false;
    for (std::size_t t = 0; t < tile_count_; ++t) {
      const Tile& tile = tiles_[t];
      const Sight sight = SightOf(t, block, n);
      *all &= sight == Sight::kAll;
      any |= sight != Sight::kNothing;
      std::uint64_t* words = words_ + tile.first;
      if (sight != Sight::kSome) {
        std::fill_n(words, tile.rows, sight == Sight::kAll ? inside : 0);
        continue;
      }
      pass_.layout->bits(static_cast<std::size_t>(item_->sequence), tile.head, tile.query,
                         static_cast<int>(tile.rows), block, words);
      for (std::size_t r = 0; r < tile.rows; ++r) words[r] &= inside;
    }
    return any;
  }

  Sight SightOf(std::size_t t, std::int64_t block, std::size_t n) {
    const Tile& tile = tiles_[t];
    const auto intervals = pass_.layout->unit(static_cast<std::size_t>(item_->sequence), tile.head,
                                              tile.query / plan::kRowUnit);
    std::size_t& at = cursors_[t];
    while (at < intervals.size() && intervals[at].end <= block) ++at;
    const std::int64_t end = block + static_cast<std::int64_t>(n);
    if (at == intervals.size() || intervals[at].begin >= end) return Sight::kNothing;
    const plan::Interval& first = intervals[at];
    return first.full && first.begin <= block && first.end >= end ? Sight::kAll : Sight::kSome;
  }

  void RunBlock(std::int64_t block, std::size_t n, bool all) {
    const void *keys[kDecodeBlock], *values[kDecodeBlock];
    T *key_copies = copies_, *value_copies = copies_ + kDecodeBlock * std::max(cols_, cols_v_);
    HWY_ALIGN T key_scales[kDecodeBlock] = {}, value_scales[kDecodeBlock] = {};
    keys_.Find(block, n, key_copies, keys, key_scales);
    values_.Find(block, n, value_copies, values, value_scales);

    const void *next_keys[kDecodeBlock], *next_values[kDecodeBlock];
    const std::int64_t next = block + static_cast<std::int64_t>(kDecodeBlock);
    products_.Multiply(rows_,
                       {keys, n, keys_.dtype(), task_.k.scales ? key_scales : nullptr,
                        Ahead(keys_, next, next_keys)},
                       scores_);
    RunStages(block, n);
    if (!all) Hide(n);
    const bool zeros = Weigh(block, n, value_scales);

    products_.Sum(rows_, scores_, zeros,
                  {values, n, values_.dtype(), nullptr, Ahead(values_, next, next_values)},
                  state_of_part_, stride_);
  }

  // Where a block's rows lie, if it is read in place and whole: what a loop over the block before
  // can prefetch.
  const void* const* Ahead(const CachedRows& source, std::int64_t block, const void** rows) const {
    if (!source.in_place() || block + static_cast<std::int64_t>(kDecodeBlock) > item_end_)
      return nullptr;
    source.Find(block, kDecodeBlock, nullptr, rows, nullptr);
    source.PrefetchScales(block, static_cast<std::int64_t>(kDecodeBlock));
    return rows;
  }

  T* PanelOf(std::size_t panel) const { return scores_ + panel * rows_ * kWidth<T>; }
  static std::size_t PanelsOf(std::size_t n) { return (n + kWidth<T> - 1) / kWidth<T>; }

  ScoreTile<T> TileAt(const Tile& tile, std::int64_t block, std::size_t panel,
                      std::size_t n) const {
    ScoreTile<T> to = TileFrom<T>(*sequence_, tile.query,
                                  block + static_cast<std::int64_t>(panel * kWidth<T>), false);
    to.data = PanelOf(panel) + tile.first * kWidth<T>;
    to.rows = tile.rows;
    to.lanes = std::min(kWidth<T>, n - panel * kWidth<T>);
    to.head = tile.head;
    return to;
  }

  void RunStages(std::int64_t block, std::size_t n) {
    if (pass_.stages.empty()) return;
    for (std::size_t p = 0; p < PanelsOf(n); ++p) {
      for (std::size_t t = 0; t < tile_count_; ++t) {
        for (const Stage& stage : pass_.stages) ApplyStage(stage, TileAt(tiles_[t], block, p, n));
      }
    }
  }

  void Hide(std::size_t n) const {
    std::uint64_t shifted[kMostRows];
    for (std::size_t p = 0; p < PanelsOf(n); ++p) {
      for (std::size_t r = 0; r < rows_; ++r) shifted[r] = words_[r] >> (p * kWidth<T>);
      HideScores(rows_, shifted, PanelOf(p));
    }
  }

  // Scores -> weights, row by row; whether one of them is 0 because its pair is hidden.
  bool Weigh(std::int64_t block, std::size_t n, const T* HWY_RESTRICT value_scales) {
    const Tag<T> d;
    const std::size_t panels = PanelsOf(n);
    // Only what is hidden can weigh 0, or what a stage has made -infinity.
    const bool may_hide = pass_.layout->mask != nullptr || !pass_.stages.empty();
    auto some_zero = hn::Zero(d);
    for (std::size_t r = 0; r < rows_; ++r) {
      T* first = scores_ + r * kWidth<T>;
      const std::size_t panel = rows_ * kWidth<T>;
      T most = kMinusInfinity<T>;
      for (std::size_t p = 0; p < panels && most == most; ++p) {
        const T own = RowMaximum(first + p * panel);
        if (!(own <= most)) most = own;  // NaN stays
      }
      const T before = Row(r).maximum();
      // As in the forward pass: a first maximum, or one that has risen by more than 16.
      if (before == kMinusInfinity<T> || most > before + T{16} || most != most) Raise(r, most);
      const T maximum = Row(r).maximum();
      const auto m = hn::Set(d, maximum == kMinusInfinity<T> ? T{0} : maximum);
      const auto hidden = hn::Set(d, kMinusInfinity<T>);
      auto sum = hn::Zero(d);
      for (std::size_t p = 0; p < panels; ++p) {
        for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
          T* at = first + p * panel + lane;
          if (p * kWidth<T> + lane >= n) {
            hn::Store(hn::Zero(d), d, at);
            continue;
          }
          const auto s = hn::Load(d, at);
          const auto is_hidden = hn::Eq(s, hidden);
          auto w = Exp<T>(hn::Sub(s, m));
          sum = hn::Add(sum, w);
          // What weighs 0 because its score is low is -0: values are left out where weights are +0.
          w = hn::IfThenElse(hn::AndNot(is_hidden, hn::Eq(w, hn::Zero(d))), hn::Set(d, T{-0.0}), w);
          some_zero = hn::Or(some_zero, hn::IfThenElseZero(is_hidden, hn::Set(d, T{1})));
          hn::Store(w, d, at);
        }
      }
      T* sums = sums_ + r * kLanes<T>;
      hn::Store(hn::Add(hn::Load(d, sums), sum), d, sums);
    }
    bool zeros = may_hide && !hn::AllTrue(d, hn::Eq(some_zero, hn::Zero(d)));
    if (!pass_.weight_stages.empty()) {
      MultiplyWeights(block, n);
      zeros = true;
    }
    if (task_.v.scales != nullptr) ScaleLanes(value_scales, rows_, n, scores_);
    return zeros;
  }

  void MultiplyWeights(std::int64_t block, std::size_t n) const {
    const Tag<T> d;
    for (std::size_t p = 0; p < PanelsOf(n); ++p) {
      for (std::size_t t = 0; t < tile_count_; ++t) {
        const ScoreTile<T> tile = TileAt(tiles_[t], block, p, n);
        WeightFactors(pass_.weight_stages, pass_.weight_stages.size(), tile, factors_);
        for (std::size_t at = 0; at < tile.rows * kWidth<T>; at += kLanes<T>) {
          const auto w = hn::Load(d, tile.data + at);
          // What is hidden stays 0 beside any factor.
          hn::Store(
              hn::IfThenZeroElse(hn::Eq(w, hn::Zero(d)), hn::Mul(w, hn::Load(d, factors_ + at))), d,
              tile.data + at);
        }
      }
    }
  }

  // Gives a row a new maximum and scales down what it has gathered.
  void Raise(std::size_t r, T maximum) {
    const Tag<T> d;
    const RowState row = Row(r);
    const T before = row.maximum();
    row.maximum() = maximum;
    if (before == kMinusInfinity<T>) return;
    const auto factor =
        hn::Set(d, before - maximum < ExpEndOf<T>(0).least ? T{0} : std::exp(before - maximum));
    T* sum = sums_ + r * kLanes<T>;
    hn::Store(hn::Mul(hn::Load(d, sum), factor), d, sum);
    for (std::size_t c = 0; c < cols_v_; c += kLanes<T>)
      hn::Store(hn::Mul(hn::Load(d, row.at + c), factor), d, row.at + c);
  }

  // Divides by the sums, and writes the rows and their statistics.
  void Finish() {
    const Outputs& to = pass_.outputs;
    const auto head_of = [this](const MutableTensorView& view, std::int32_t head) {
      return view.given() ? RowsView::of(view, sequence_->batch, head, sequence_->q_begin)
                          : RowsView{};
    };
    HWY_ALIGN T maxima[kRows + kLanes<T>], totals[kRows + kLanes<T>], logs[kRows + kLanes<T>];
    std::fill_n(totals, kRows + kLanes<T>, T{1});
    for (std::size_t t = 0; t < tile_count_; ++t) {
      const Tile& tile = tiles_[t];
      const RowsView out = head_of(to.out, tile.head);
      for (std::size_t r = 0; r < tile.rows; ++r) {
        const RowState row = Merged(tile.first + r);
        T maximum = row.maximum(), sum = maximum == kMinusInfinity<T> ? T{0} : row.sum(),
          numerator = T{1};
        const bool nothing = maximum == kMinusInfinity<T>;
        if (pass_.sinks.given()) numerator = JoinSinks(pass_.sinks, tile.head, &maximum, &sum);
        WriteOut(row.at, nothing, nothing ? T{0} : numerator / sum, out,
                 tile.query + static_cast<std::int64_t>(r));
        maxima[r] = maximum;
        totals[r] = maximum == kMinusInfinity<T> ? T{1} : sum;
      }
      if (!to.maximum.given() && !to.log_sum.given() && !to.lse.given()) continue;
      const WrittenStatistics heads{head_of(to.maximum, tile.head), head_of(to.log_sum, tile.head),
                                    head_of(to.lse, tile.head)};
      WriteStatistics(heads, tile.query, tile.rows, maxima, totals, logs);
    }
  }

  void WriteOut(T* HWY_RESTRICT row, bool nothing, T factor, const RowsView& out,
                std::int64_t i) const {
    const Tag<T> d;
    products_.Reorder(row, task_.v.dtype);
    const bool whole = out.col == 1 && cols_v_ == dim_v_;  // vectors can be written
    for (std::size_t c = 0; c < cols_v_; c += kLanes<T>) {
      // A sum of 0 is never -0, as in the forward pass.
      const auto x = hn::MulAdd(hn::Load(d, row + c), hn::Set(d, factor), hn::Zero(d));
      const auto kept = nothing ? hn::Zero(d) : x;
      if (whole) {
        StoreAs(d, kept, out.dtype, const_cast<void*>(out.base),
                out.At(i) + static_cast<std::int64_t>(c));
      } else {
        hn::Store(kept, d, row + c);
      }
    }
    if (!whole) WriteRow(row, out, i, dim_v_);
  }

  const DecodeTask& task_;
  const ForwardTask& pass_;
  const std::size_t dim_, dim_v_, cols_, cols_v_, stride_;
  std::size_t bytes_ = 0, rows_ = 0, tile_count_ = 0;
  Products products_;
  T *scores_, *factors_, *state_, *merged_, *sums_, *copies_;
  T* state_of_part_ = nullptr;
  std::uint64_t* words_;
  Tile* tiles_;
  std::size_t* cursors_;
  const DecodeItem* item_ = nullptr;
  std::int64_t item_end_ = 0;
  const plan::Sequence* sequence_ = nullptr;
  CachedRows keys_, values_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
