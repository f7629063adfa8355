// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/decode_items.h"

#include <algorithm>

namespace regard::schedule {
namespace {

// Items for each worker where there are keys enough.
constexpr std::int64_t kItemsEach = 6;
// Keys below which a second item costs more than it saves.
constexpr std::int64_t kLeastKeys = 512;
// What reading a byte counts as, in multiply-adds: memory sets the pace where rows are few.
constexpr double kWorkOfByte = 2.5;
// What a row counts as, however few its keys: its query, its state, its output (0.2 us of a core).
constexpr double kWorkOfRow = 8e3;

std::int64_t parts_of(std::int64_t len_k) {
  const std::int64_t size = kernels::decode_part_keys(len_k);
  return (len_k + size - 1) / size;
}

}  // namespace

DecodeNeeds cut_decode(kernels::DecodeTask& task, int workers) {
  DecodeNeeds needs;
  task.items.clear();
  const kernels::ForwardTask& pass = *task.pass;
  const plan::Layout& layout = *pass.layout;
  const auto group = static_cast<std::int32_t>(pass.group);
  const auto kv_heads = static_cast<std::int32_t>(pass.inputs.q.shape[1] / pass.group);
  const double key_bytes =
      static_cast<double>(task.dim) * static_cast<double>(size_of(task.k.dtype)) +
      static_cast<double>(task.dim_v) * static_cast<double>(size_of(task.v.dtype));

  const auto chosen = [&](std::size_t s) {
    const plan::Sequence& sequence = layout.sequences[s];
    return kernels::takes_decode(pass.decode_queries, sequence.len_q, sequence.len_k);
  };
  std::int64_t keys = 0;
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    if (chosen(s)) keys += layout.sequences[s].len_k * kv_heads;
  }
  const std::int64_t most =
      workers <= 1 ? keys + 1 : std::max(kLeastKeys, keys / (kItemsEach * workers) + 1);
  // Documents that lie side by side follow one another: those of a head, or the heads of a
  // document.
  const std::size_t sequences = layout.sequences.size(),
                    all = sequences * static_cast<std::size_t>(kv_heads);
  const TensorView& q = pass.inputs.q;
  const bool by_head =
      sequences > static_cast<std::size_t>(q.shape[0]) && q.strides[1] > q.strides[2];
  for (std::size_t at = 0; at < all; ++at) {
    const std::size_t s = by_head ? at % sequences : at / static_cast<std::size_t>(kv_heads);
    if (!chosen(s)) continue;
    const auto kv = static_cast<std::int32_t>(by_head ? at / sequences
                                                      : at % static_cast<std::size_t>(kv_heads));
    const plan::Sequence& sequence = layout.sequences[s];
    const auto heads_of_item = static_cast<std::int32_t>(
        std::min<std::int64_t>(group, kernels::kDecodeRows / sequence.len_q));
    const auto parts = static_cast<std::int32_t>(parts_of(sequence.len_k));
    const auto shares = static_cast<std::int32_t>(
        std::min<std::int64_t>(parts, (sequence.len_k + most - 1) / most));
    for (std::int32_t h = 0; h < group; h += heads_of_item) {
      const std::int32_t heads = std::min(heads_of_item, group - h);
      kernels::DecodeItem item{static_cast<std::int32_t>(s), kv, kv * group + h,
                               kv * group + h + heads,       0,  parts};
      const std::int64_t rows = heads * sequence.len_q;
      needs.work +=
          static_cast<double>(rows) * kWorkOfRow +
          static_cast<double>(sequence.len_k) *
              (static_cast<double>(rows * (task.dim + task.dim_v)) + kWorkOfByte * key_bytes);
      if (shares == 1) {
        task.items.push_back(item);
        continue;
      }
      item.first_state = needs.states;
      item.countdown = static_cast<std::int32_t>(needs.countdowns++);
      needs.states += parts * rows;
      for (std::int32_t share = 0; share < shares; ++share) {
        item.part_begin = share * parts / shares;
        item.part_end = (share + 1) * parts / shares;
        task.items.push_back(item);
      }
    }
  }
  // Long ones first, so that workers end together.
  const auto keys_of = [&](const kernels::DecodeItem& item) {
    const std::int64_t len_k = layout.sequences[static_cast<std::size_t>(item.sequence)].len_k;
    return std::min(len_k, item.part_end * kernels::decode_part_keys(len_k)) -
           item.part_begin * kernels::decode_part_keys(len_k);
  };
  const auto longer = [&](const kernels::DecodeItem& x, const kernels::DecodeItem& y) {
    return keys_of(x) > keys_of(y);
  };
  if (!std::is_sorted(task.items.begin(), task.items.end(), longer))
    std::stable_sort(task.items.begin(), task.items.end(), longer);
  return needs;
}

}  // namespace regard::schedule
