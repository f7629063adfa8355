// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/forward_items.h"

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/decode_task.h"

namespace regard::schedule {
namespace {

// With fewer items than this, the last ones are made smaller, so that workers finish together.
constexpr std::int64_t kEnoughItems = 48;
// Below this many (unit, head) pairs an item packs keys for too few rows.
constexpr std::int64_t kSmallestItem = 24;
// What a unit costs beside its keys, in keys: its queries and outputs.
constexpr std::int64_t kUnitKeys = 64;

// What the units of a head cost: the keys that their rows see. All alike where nothing is hidden.
class UnitCosts {
 public:
  UnitCosts(const plan::Layout& layout, std::size_t s, std::int32_t head)
      : alike_(layout.mask == nullptr) {
    if (alike_) return;
    sums().assign(1, 0);
    for (std::int64_t u = 0; u < layout.units(s); ++u) {
      std::int64_t keys = kUnitKeys;
      for (const plan::Interval& interval : layout.unit(s, head, u))
        keys += interval.end - interval.begin;
      sums().push_back(sums().back() + keys);
    }
  }
  std::int64_t of(std::int64_t begin, std::int64_t end) const {
    return alike_ ? end - begin
                  : sums()[static_cast<std::size_t>(end)] - sums()[static_cast<std::size_t>(begin)];
  }

 private:
  static std::vector<std::int64_t>& sums() {
    thread_local std::vector<std::int64_t> memory;
    return memory;
  }
  const bool alike_;
};

}  // namespace

void cut_forward(kernels::ForwardTask& task) {
  task.items.clear();
  if (task.inputs.q.shape[1] == 0) return;  // keys may have heads all the same
  const plan::Layout& layout = *task.layout;
  const auto kv_heads = static_cast<std::int32_t>(task.inputs.k.shape[1]);
  const auto group = static_cast<std::int32_t>(task.group);
  const auto most = static_cast<std::int64_t>(kernels::kMaxUnits);
  const auto heads_of_item = static_cast<std::int32_t>(std::min<std::int64_t>(group, most));
  const std::int64_t largest = std::max<std::int64_t>(1, most / heads_of_item);
  std::int64_t items = 0;
  const auto left_out = [&](std::size_t s) {
    const plan::Sequence& sequence = layout.sequences[s];
    return kernels::takes_decode(task.decode_queries, sequence.len_q, sequence.len_k);
  };
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    if (left_out(s)) continue;
    items += (layout.units(s) + largest - 1) / largest * kv_heads *
             ((group + heads_of_item - 1) / heads_of_item);
  }
  // One head after another: its keys and values stay in the caches that workers share. Within a
  // head from the last rows to the first, so that under a causal mask the long items come first; in
  // the last heads they become small, so that workers finish together. Units that see far more than
  // others (global tokens) are items of their own, and come first. Where rows are taken in another
  // order, items whose rows lie near one another in the tensors follow one another: they share
  // pages.
  const std::int64_t smallest =
      std::min(largest, std::max<std::int64_t>(1, kSmallestItem / heads_of_item));
  const auto sequences = static_cast<std::int64_t>(layout.sequences.size());
  const std::int64_t all_heads = sequences * kv_heads;
  const std::int64_t first_tapered =
      items < kEnoughItems ? all_heads - (all_heads + 3) / 4 : all_heads;
  for (std::int64_t at = 0; at < all_heads; ++at) {
    const auto s = static_cast<std::int32_t>(at / kv_heads),
               kv = static_cast<std::int32_t>(at % kv_heads);
    if (left_out(static_cast<std::size_t>(s))) continue;
    const std::int64_t units = layout.units(static_cast<std::size_t>(s));
    const UnitCosts costs(layout, static_cast<std::size_t>(s), kv * group);
    const std::int64_t dear = units == 0 ? 0 : 4 * costs.of(0, units) / units;
    const std::size_t first_item = task.items.size();
    for (std::int64_t end = units; end > 0;) {
      std::int64_t size =
          std::min(end, at >= first_tapered ? std::clamp(end / 6, smallest, largest) : largest);
      const bool is_dear = costs.of(end - 1, end) > dear;
      for (std::int64_t n = 1; n < size; ++n) {
        if ((costs.of(end - n - 1, end - n) > dear) != is_dear) size = n;
      }
      for (std::int32_t h = 0; h < group; h += heads_of_item) {
        const std::int32_t first_head = kv * group + h;
        task.items.push_back(
            {s, kv, first_head, first_head + std::min(heads_of_item, group - h), end - size, end});
      }
      end -= size;
    }
    if (layout.mask == nullptr) continue;
    const std::int32_t* rows = layout.query_rows(static_cast<std::size_t>(s), kv * group);
    std::sort(task.items.begin() + static_cast<std::ptrdiff_t>(first_item), task.items.end(),
              [&](const kernels::ForwardItem& x, const kernels::ForwardItem& y) {
                const std::int64_t cost_x = costs.of(x.unit_begin, x.unit_end),
                                   cost_y = costs.of(y.unit_begin, y.unit_end);
                if (cost_x != cost_y) return cost_x > cost_y;
                if (rows != nullptr) {
                  const auto rx = rows[x.unit_begin * plan::kRowUnit],
                             ry = rows[y.unit_begin * plan::kRowUnit];
                  if (rx != ry) return rx > ry;
                }
                return x.unit_end != y.unit_end ? x.unit_end > y.unit_end
                                                : x.head_begin < y.head_begin;
              });
  }
}

}  // namespace regard::schedule
