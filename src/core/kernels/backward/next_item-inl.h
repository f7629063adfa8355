// SPDX-License-Identifier: Apache-2.0
// What the next item of a backward pass will read and write, for the prefetcher.

#if defined(REGARD_KERNELS_BACKWARD_NEXT_ITEM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_NEXT_ITEM_INL_H_
#undef REGARD_KERNELS_BACKWARD_NEXT_ITEM_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_NEXT_ITEM_INL_H_
#endif

#include <algorithm>

#include "core/kernels/kernels.h"
#include "core/kernels/tile/prefetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Item `item` begins: prefetches for the one behind it.
inline void PrefetchNextItem(const BackwardTask& task, std::size_t item, ItemPrefetch* prefetch) {
  if (item + 1 == task.items.size()) return;
  const BackwardItem &now = task.items[item], &next = task.items[item + 1];
  const auto sequence_of = [&task](const BackwardItem& of) -> const plan::Sequence& {
    return task.layout->sequences[static_cast<std::size_t>(of.sequence_begin)];
  };
  const auto keys_in = [&task](const plan::Sequence& s, const BackwardItem& of) {
    const std::int64_t size = block_keys(task, s);
    return std::min(s.len_k, of.block_end * size) - of.block_begin * size;
  };
  const plan::Sequence& s = sequence_of(next);
  const std::int64_t first = next.block_begin * block_keys(task, s), keys = keys_in(s, next);
  if (pass_is_cached(task, 2 * (keys + s.len_q * task.group))) return;
  const std::int64_t first_head = next.kv_begin * task.group;
  if (task.layout->query_rows(static_cast<std::size_t>(next.sequence_begin),
                              static_cast<std::int32_t>(first_head)) != nullptr)
    return;  // they lie scattered
  prefetch->Add<false>(keys_of(task), s.batch, next.kv_begin, s.k_begin + first, keys);
  prefetch->Add<false>(task.inputs.v, s.batch, next.kv_begin, s.k_begin + first, keys);
  for (std::int64_t head = first_head; head < first_head + task.group; ++head) {
    prefetch->Add<false>(task.inputs.q, s.batch, head, s.q_begin, s.len_q);
    prefetch->Add<false>(task.inputs.d_out, s.batch, head, s.q_begin, s.len_q);
    prefetch->Add<false>(task.inputs.out, s.batch, head, s.q_begin, s.len_q);
    prefetch->Add<true>(task.gradients.dq, s.batch, head, s.q_begin, s.len_q);
  }
  prefetch->Add<true>(task.gradients.dk, s.batch, next.kv_begin, s.k_begin + first, keys);
  prefetch->Add<true>(task.gradients.dv, s.batch, next.kv_begin, s.k_begin + first, keys);
  // A step for each panel of queries and of the three gradients, and each group of keys.
  const plan::Sequence& mine = sequence_of(now);
  const std::int64_t panels =
      (mine.len_q + task.inputs.q.shape[3] * 2 + task.inputs.v.shape[3]) / ItemPrefetch::kPanel;
  prefetch->Share(panels *
                  ((keys_in(mine, now) + ItemPrefetch::kGroup - 1) / ItemPrefetch::kGroup) *
                  task.group);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
