// SPDX-License-Identifier: Apache-2.0
// Which chunks of keys the row units of a work item see, from the first key on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/plan/layout.h"

namespace regard::kernels {

// Marks the panels, `width` keys each, of keys [chunk, end) that intervals reach into; the first
// interval ends behind `chunk`.
inline void mark_panels(std::span<const plan::Interval> intervals, std::int64_t chunk,
                        std::int64_t end, std::size_t width, bool* seen) {
  for (auto i = intervals.begin(); i != intervals.end() && i->begin < end; ++i) {
    const auto from =
        static_cast<std::size_t>(std::max<std::int64_t>(i->begin, chunk) - chunk) / width;
    const auto to =
        (static_cast<std::size_t>(std::min<std::int64_t>(i->end, end) - chunk) + width - 1) / width;
    std::fill_n(seen + from, to - from, true);
  }
}

// Chunks begin at multiples of their size. Units count over the item's heads, one head after
// another.
class ChunkWalk {
 public:
  void Take(Carve& carve) { cursors_ = carve.Take<std::size_t>(kMaxUnits); }

  void Start(const plan::Layout& layout, const ForwardItem& item, std::size_t chunk_keys) {
    layout_ = &layout;
    item_ = &item;
    size_ = static_cast<std::int64_t>(chunk_keys);
    len_k_ = layout.sequences[static_cast<std::size_t>(item.sequence)].len_k;
    units_of_head_ = static_cast<std::size_t>(item.unit_end - item.unit_begin);
    units_ = units_of_head_ * static_cast<std::size_t>(item.head_end - item.head_begin);
    std::fill_n(cursors_, units_, std::size_t{0});
  }

  // Goes to the first chunk from key `from` on, a multiple of the size, of which some unit sees a
  // key; len_k where there is none.
  std::int64_t Next(std::int64_t from) {
    std::int64_t next = len_k_;
    for (std::size_t u = 0; u < units_; ++u) {
      const auto intervals = Intervals(u);
      cursors_[u] = Behind(intervals, cursors_[u], from);
      if (cursors_[u] < intervals.size())
        next = std::min<std::int64_t>(next, intervals[cursors_[u]].begin);
    }
    return next >= len_k_ ? len_k_ : std::max(from, next / size_ * size_);
  }

  std::int64_t End(std::int64_t chunk) const { return std::min(chunk + size_, len_k_); }

  // Which panels, `width` keys each, of the chunk where Next() has gone, or of a later one, some
  // unit sees. Returns how many there are.
  std::size_t FindPanels(std::int64_t chunk, std::size_t width, bool* seen) const {
    const std::int64_t end = End(chunk);
    const std::size_t panels = (static_cast<std::size_t>(end - chunk) + width - 1) / width;
    std::fill_n(seen, panels, false);
    for (std::size_t u = 0; u < units_; ++u) {
      const auto intervals = Intervals(u);
      mark_panels(intervals.subspan(Behind(intervals, cursors_[u], chunk)), chunk, end, width,
                  seen);
    }
    return panels;
  }

  // Whether a unit sees some of the chunk that Next() has gone to.
  bool Sees(std::size_t unit, std::int64_t chunk) const {
    const auto intervals = Intervals(unit);
    const std::size_t cursor = cursors_[unit];
    return cursor < intervals.size() && intervals[cursor].begin < End(chunk);
  }

 private:
  std::span<const plan::Interval> Intervals(std::size_t unit) const {
    return layout_->unit(static_cast<std::size_t>(item_->sequence),
                         item_->head_begin + static_cast<std::int32_t>(unit / units_of_head_),
                         item_->unit_begin + static_cast<std::int64_t>(unit % units_of_head_));
  }
  // The first interval, from `at` on, that ends behind a key.
  static std::size_t Behind(std::span<const plan::Interval> intervals, std::size_t at,
                            std::int64_t key) {
    while (at < intervals.size() && intervals[at].end <= key) ++at;
    return at;
  }

  const plan::Layout* layout_ = nullptr;
  const ForwardItem* item_ = nullptr;
  std::int64_t size_ = 0, len_k_ = 0;
  std::size_t units_of_head_ = 0, units_ = 0;
  std::size_t* cursors_ =
      nullptr;  // of each unit: its first interval that ends behind where the walk is
};

}  // namespace regard::kernels
