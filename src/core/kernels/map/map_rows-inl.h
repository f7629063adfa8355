// SPDX-License-Identifier: Apache-2.0
// Maps whose answer belongs to query rows: exact weights, pictures, entropies, the keys that count
// most. An item walks the keys of its rows once and hands the weights to a sink, group by group.

#if defined(REGARD_KERNELS_MAP_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_ROWS_INL_H_
#undef REGARD_KERNELS_MAP_ROWS_INL_H_
#else
#define REGARD_KERNELS_MAP_ROWS_INL_H_
#endif

#include "core/kernels/chunk_walk.h"
#include "core/kernels/map/map_sinks-inl.h"
#include "core/kernels/map/map_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Score>
class MapRows {
  using Tiles = MapTiles<Score>;
  using T = typename Tiles::T;
  static constexpr std::size_t kMostGroups = kMaxUnits * Tiles::kGroupsPerUnit;

 public:
  static std::size_t ScratchBytes(const MapTask& task) {
    Carve carve(nullptr);
    const MapRows rows(task, carve);
    return carve.bytes();
  }
  static void Run(const MapTask& task, std::size_t item, std::byte* scratch) {
    [[maybe_unused]] const typename Score::Ops::Session session{};
    Carve carve(scratch);
    MapRows(task, carve).RunItem(task.items[item]);
  }

 private:
  MapRows(const MapTask& task, Carve& carve)
      : task_(task), tiles_(task, kMostGroups, carve), sink_(task, tiles_.chunk(), carve) {
    wanted_ = carve.Take<bool>(tiles_.Panels());
    at_ = carve.Take<const T*>(tiles_.Panels());
    panels_ = carve.Take<std::uint16_t>(tiles_.Panels());
    if (!task.mean) return;
    mean_ = carve.Take<T>(kMostGroups * tiles_.Panels() * Tiles::kTile);
    held_ = carve.Take<bool>(kMostGroups * tiles_.Panels());
  }

  void RunItem(const MapItem& item) {
    item_ = &item;
    sink_.Begin(item);
    for (std::size_t s = task_.first_sequence[item.batch]; s < task_.first_sequence[item.batch + 1];
         ++s) {
      const plan::Sequence& sequence = task_.pass.layout->sequences[s];
      const std::int64_t first = std::max(item.begin, sequence.q_begin) - sequence.q_begin;
      const std::int64_t end =
          std::min(item.end, sequence.q_begin + sequence.len_q) - sequence.q_begin;
      const std::int64_t key_end =
          std::min(task_.region.key_end - sequence.k_begin, sequence.len_k);
      std::int64_t key = std::max<std::int64_t>(task_.region.key_begin - sequence.k_begin, 0);
      key -= key % static_cast<std::int64_t>(kWidth<T>);
      if (first >= end || key >= key_end) continue;
      const plan::RowOrder* order = task_.pass.layout->order(s, item.head_begin);
      if (order == nullptr) {
        RunRows(s, first, end, key, key_end);
      } else {
        RunPlaces(s, order->queries, first, end);
      }
    }
    sink_.End(item);
  }

  // Rows [first, end) of a sequence in another order: those in front, and those of each class. The
  // sink knows which keys it wants.
  void RunPlaces(std::size_t s, const plan::AxisOrder& order, std::int64_t first,
                 std::int64_t end) {
    const std::int64_t keys = task_.pass.layout->sequences[s].len_k;
    RunRows(s, order.front_place(first), order.front_place(end), 0, keys);
    for (std::int64_t c = 0; c < order.classes(); ++c)
      RunRows(s, order.place(c, first), order.place(c, end), 0, keys);
  }

  // Rows [first, end) of a sequence, as the layout counts them, and keys [key, key_end).
  void RunRows(std::size_t s, std::int64_t first, std::int64_t end, std::int64_t key,
               std::int64_t key_end) {
    constexpr auto kStep = static_cast<std::int64_t>(kMaxUnits);
    if (first >= end) return;
    const std::int64_t unit_end = (end + plan::kRowUnit - 1) / plan::kRowUnit;
    for (std::int64_t unit = first / plan::kRowUnit; unit < unit_end; unit += kStep) {
      RunBlock(s, unit, std::min(unit + kStep, unit_end), first, end, key, key_end);
    }
  }

  // Rows [first, end) of units [unit, unit_end) and keys [key, key_end).
  void RunBlock(std::size_t s, std::int64_t unit, std::int64_t unit_end, std::int64_t first,
                std::int64_t end, std::int64_t key, std::int64_t key_end) {
    groups_ = 0;
    first_ = first;
    end_ = end;
    tiles_.Enter(s, item_->head_begin);
    for (std::size_t g = 0; g < static_cast<std::size_t>(unit_end - unit) * Tiles::kGroupsPerUnit;
         ++g) {
      const MapGroup group = tiles_.GroupAt(g, unit);
      if (group.rows == 0 || group.row >= end ||
          group.row + static_cast<std::int64_t>(group.rows) <= first)
        continue;
      group_[groups_++] = group;
    }
    if (!task_.mean) PackAll();
    for (std::int64_t chunk = NextChunk(s, key, key_end); chunk < key_end;) {
      const std::int64_t chunk_end =
          std::min(chunk + static_cast<std::int64_t>(tiles_.chunk()), key_end);
      sink_.BeginChunk(tiles_.KeysFrom(chunk), chunk_end - chunk);
      task_.mean ? RunMean(s, chunk, chunk_end) : RunHead(chunk, chunk_end);
      sink_.EndChunk();
      chunk = NextChunk(s, chunk_end, key_end);
    }
  }

  void PackAll() {
    for (std::size_t g = 0; g < groups_; ++g) tiles_.PackQueries(group_[g]);
  }

  // The first chunk, from key `key` on, that holds something that some row of the block sees in
  // some head of the item.
  std::int64_t NextChunk(std::size_t s, std::int64_t key, std::int64_t key_end) const {
    std::int64_t next = key_end;
    const std::int32_t heads =
        task_.pass.layout->mask_heads == 1 ? item_->head_begin + 1 : item_->head_end;
    for (std::int32_t head = item_->head_begin; head < heads; ++head) {
      for (std::size_t g = 0; g < groups_; ++g) {
        const auto intervals = task_.pass.layout->unit(s, head, group_[g].unit);
        const auto interval = FirstBehind(intervals, key);
        if (interval != intervals.end())
          next = std::min(next, std::max<std::int64_t>(interval->begin, key));
        if (next == key) return key;
      }
    }
    return next >= key_end ? key_end
                           : std::max(key, next / static_cast<std::int64_t>(kWidth<T>) *
                                               static_cast<std::int64_t>(kWidth<T>));
  }

  void PackKeys(std::int64_t chunk, std::int64_t chunk_end) {
    std::fill_n(wanted_, tiles_.Panels(), false);
    for (std::size_t g = 0; g < groups_; ++g) {
      const auto intervals = tiles_.Intervals(group_[g].unit);
      mark_panels({FirstBehind(intervals, chunk), intervals.end()}, chunk, chunk_end, kWidth<T>,
                  wanted_);
    }
    for (std::size_t p = 0; p < tiles_.Panels(); ++p) {
      if (wanted_[p]) tiles_.PackPanel(chunk, p);
    }
  }

  // Hands on rows of the block only.
  void HandOn(const MapGroup& group, std::size_t count) {
    if (count == 0) return;
    const auto begin = static_cast<std::size_t>(std::max<std::int64_t>(0, first_ - group.row));
    const auto end = static_cast<std::size_t>(
        std::min<std::int64_t>(static_cast<std::int64_t>(group.rows), end_ - group.row));
    sink_.Take({tiles_.RowsOf(group), begin, end, at_, panels_, count});
  }

  void RunHead(std::int64_t chunk, std::int64_t chunk_end) {
    PackKeys(chunk, chunk_end);
    for (std::size_t g = 0; g < groups_; ++g) {
      const std::size_t count = tiles_.Weigh(group_[g], chunk, chunk_end);
      for (std::size_t u = 0; u < count; ++u) {
        at_[u] = tiles_.tile(u);
        panels_[u] = tiles_.use(u).panel;
      }
      HandOn(group_[g], count);
    }
  }

  // The mean of all heads' weights is gathered before anything is made of it.
  void RunMean(std::size_t s, std::int64_t chunk, std::int64_t chunk_end) {
    const std::size_t panels = tiles_.Panels();
    std::fill_n(held_, groups_ * panels, false);
    for (std::int32_t head = item_->head_begin; head < item_->head_end; ++head) {
      tiles_.Enter(s, head);
      PackAll();
      PackKeys(chunk, chunk_end);
      for (std::size_t g = 0; g < groups_; ++g) {
        const std::size_t count = tiles_.Weigh(group_[g], chunk, chunk_end);
        for (std::size_t u = 0; u < count; ++u)
          AddToMean(tiles_.tile(u), g * panels + tiles_.use(u).panel);
      }
    }
    for (std::size_t g = 0; g < groups_; ++g) {
      std::size_t count = 0;
      for (std::size_t p = 0; p < panels; ++p) {
        if (!held_[g * panels + p]) continue;
        at_[count] = mean_ + (g * panels + p) * Tiles::kTile;
        panels_[count++] = static_cast<std::uint16_t>(p);
      }
      HandOn(group_[g], count);
    }
  }

  void AddToMean(const T* HWY_RESTRICT tile, std::size_t index) {
    const Tag<T> d;
    const auto share = hn::Set(d, T{1} / static_cast<T>(item_->head_end - item_->head_begin));
    T* HWY_RESTRICT to = mean_ + index * Tiles::kTile;
    for (std::size_t at = 0; at < Tiles::kTile; at += kLanes<T>) {
      const auto part = hn::Mul(hn::Load(d, tile + at), share);
      hn::Store(held_[index] ? hn::Add(hn::Load(d, to + at), part) : part, d, to + at);
    }
    held_[index] = true;
  }

  const MapTask& task_;
  Tiles tiles_;
  MapSink<T> sink_;
  bool *wanted_, *held_ = nullptr;
  const T** at_;
  std::uint16_t* panels_;
  T* mean_ = nullptr;
  const MapItem* item_ = nullptr;
  MapGroup group_[kMostGroups];
  std::size_t groups_ = 0;
  std::int64_t first_ = 0, end_ = 0;  // rows of the block at hand
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
