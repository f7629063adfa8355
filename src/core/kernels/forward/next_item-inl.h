// SPDX-License-Identifier: Apache-2.0
// What the next item of a forward pass will read and write, for the prefetcher.

#if defined(REGARD_KERNELS_FORWARD_NEXT_ITEM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_FORWARD_NEXT_ITEM_INL_H_
#undef REGARD_KERNELS_FORWARD_NEXT_ITEM_INL_H_
#else
#define REGARD_KERNELS_FORWARD_NEXT_ITEM_INL_H_
#endif

#include <algorithm>

#include "core/kernels/kernels.h"
#include "core/kernels/tile/prefetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Item `item` begins: prefetches for the one behind it.
inline void PrefetchNextItem(const ForwardTask& task, std::size_t item, ItemPrefetch* prefetch) {
  if (item + 1 == task.items.size()) return;
  const ForwardItem &now = task.items[item], &next = task.items[item + 1];
  const auto sequence_of = [&task](const ForwardItem& of) -> const plan::Sequence& {
    return task.layout->sequences[static_cast<std::size_t>(of.sequence)];
  };
  const plan::Sequence& s = sequence_of(next);
  const std::int64_t first = next.unit_begin * plan::kRowUnit,
                     rows = std::min(s.len_q, next.unit_end * plan::kRowUnit) - first;
  if (pass_is_cached(task, s.len_k + rows * (next.head_end - next.head_begin))) return;
  if (task.layout->query_rows(static_cast<std::size_t>(next.sequence), next.head_begin) != nullptr)
    return;  // they lie scattered
  if (next.sequence != now.sequence || next.kv_head != now.kv_head) {
    prefetch->Add<false>(keys_of(task), s.batch, next.kv_head, s.k_begin, s.len_k);
    prefetch->Add<false>(task.inputs.v, s.batch, next.kv_head, s.k_begin, s.len_k);
  }
  for (std::int32_t head = next.head_begin; head < next.head_end; ++head) {
    prefetch->Add<false>(task.inputs.q, s.batch, head, s.q_begin + first, rows);
    prefetch->Add<true>(task.outputs.out, s.batch, head, s.q_begin + first, rows);
  }
  // A step for each panel of keys and of values, and each group of rows.
  const std::int64_t panels =
      (sequence_of(now).len_k + task.inputs.v.shape[3]) / ItemPrefetch::kPanel;
  prefetch->Share(panels * (now.unit_end - now.unit_begin) *
                  (plan::kRowUnit / ItemPrefetch::kGroup) * (now.head_end - now.head_begin));
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
