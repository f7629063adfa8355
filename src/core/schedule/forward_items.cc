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
  std::int64_t longest = 0, items = 0;
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    longest = std::max(longest, layout.units(s));
    items += (layout.units(s) + largest - 1) / largest * kv_heads * ((group + heads_of_item - 1) / heads_of_item);
  }
  const bool taper = items < kEnoughItems;
  const std::int64_t smallest = std::min(largest, std::max<std::int64_t>(1, kSmallestItem / heads_of_item));
  // From the last rows to the first, all sequences and heads in step: under a causal mask the long items come first.
  for (std::int64_t end = longest; end > 0;) {
    const std::int64_t size = std::min(end, taper ? std::clamp(end / 6, smallest, largest) : largest);
    for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
      const std::int64_t last = std::min(end, layout.units(s));
      if (last <= end - size) continue;
      for (std::int32_t kv = 0; kv < kv_heads; ++kv) {
        for (std::int32_t h = 0; h < group; h += heads_of_item) {
          const std::int32_t first_head = kv * group + h;
          task.items.push_back({static_cast<std::int32_t>(s), kv, first_head, first_head + std::min(heads_of_item, group - h), end - size, last});
        }
      }
    }
    end -= size;
  }
}

}  // namespace regard::schedule
