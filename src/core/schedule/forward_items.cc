#include "core/schedule/forward_items.h"

#include <algorithm>

#include "core/kernels/carve.h"

namespace regard::schedule {
namespace {

// With fewer items than this, the last ones are made smaller, so that workers finish together.
constexpr std::int64_t kEnoughItems = 48;
// Below this many (unit, head) pairs an item packs keys for too few rows.
constexpr std::int64_t kSmallestItem = 24;

}  // namespace

void cut_forward(kernels::ForwardTask& task) {
  task.items.clear();
  const plan::Layout& layout = *task.layout;
  const auto kv_heads = static_cast<std::int32_t>(task.inputs.k.shape[1]);
  const auto group = static_cast<std::int32_t>(task.group);
  const auto most = static_cast<std::int64_t>(kernels::kMaxUnits);
  const auto heads_of_item = static_cast<std::int32_t>(std::min<std::int64_t>(group, most));
  const std::int64_t largest = std::max<std::int64_t>(1, most / heads_of_item);
  std::int64_t items = 0;
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    items += (layout.units(s) + largest - 1) / largest * kv_heads * ((group + heads_of_item - 1) / heads_of_item);
  }
  // One head after another: its keys and values stay in the caches that workers share. Within a head from the last rows to the first, so
  // that under a causal mask the long items come first; in the last heads they become small, so that workers finish together.
  const std::int64_t smallest = std::min(largest, std::max<std::int64_t>(1, kSmallestItem / heads_of_item));
  const auto sequences = static_cast<std::int64_t>(layout.sequences.size());
  const std::int64_t all_heads = sequences * kv_heads;
  const std::int64_t first_tapered = items < kEnoughItems ? all_heads - (all_heads + 3) / 4 : all_heads;
  for (std::int64_t at = 0; at < all_heads; ++at) {
    const auto s = static_cast<std::int32_t>(at / kv_heads), kv = static_cast<std::int32_t>(at % kv_heads);
    for (std::int64_t end = layout.units(static_cast<std::size_t>(s)); end > 0;) {
      const std::int64_t size = std::min(end, at >= first_tapered ? std::clamp(end / 6, smallest, largest) : largest);
      for (std::int32_t h = 0; h < group; h += heads_of_item) {
        const std::int32_t first_head = kv * group + h;
        task.items.push_back({s, kv, first_head, first_head + std::min(heads_of_item, group - h), end - size, end});
      }
      end -= size;
    }
  }
}

}  // namespace regard::schedule
