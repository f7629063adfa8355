#include "core/schedule/backward_items.h"

#include <algorithm>

#include "core/kernels/carve.h"

namespace regard::schedule {
namespace {

// The first and last key that the rows of each chunk of queries see.
void find_chunk_keys(kernels::BackwardTask& task) {
  task.chunk_keys.clear();
  task.first_chunk.clear();
  const plan::Layout& layout = *task.layout;
  if (layout.mask == nullptr) return;
  constexpr std::int64_t kUnits = kernels::kQueryChunk / plan::kRowUnit;
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const std::int64_t units = layout.units(s);
    for (std::int32_t h = 0; h < layout.mask_heads; ++h) {
      task.first_chunk.push_back(static_cast<std::int64_t>(task.chunk_keys.size()));
      for (std::int64_t first = 0; first < units; first += kUnits) {
        kernels::BackwardTask::KeyRange range{0, 0};
        for (std::int64_t u = first; u < std::min(units, first + kUnits); ++u) {
          const auto intervals = layout.unit(s, h, u);
          if (intervals.empty()) continue;
          const bool none = range.begin >= range.end;
          range.begin = none ? intervals.front().begin : std::min(range.begin, intervals.front().begin);
          range.end = std::max(range.end, intervals.back().end);
        }
        task.chunk_keys.push_back(range);
      }
    }
  }
}

// Which axes a bias gradient is summed over, of all those that are wanted.
struct Summed {
  bool batch = false, heads = false, keys = false, everything = false;
};

Summed summed_axes(const kernels::BackwardTask& task) {
  Summed summed;
  const Shape& q = task.inputs.q.shape;
  const auto add = [&](const kernels::Stage& stage) {
    if (!stage.gradient.given()) return;
    const auto spread = [&stage](std::size_t axis, std::int64_t size) { return stage.gradient.strides[axis] == 0 && size > 1; };
    summed.batch |= spread(0, q[0]);
    summed.heads |= spread(1, q[1]);
    summed.keys |= spread(3, task.inputs.k.shape[2]);
    summed.everything |= stage.gradient.strides[2] == 0 && stage.gradient.strides[3] == 0;
  };
  for (const kernels::Stage& stage : task.stages) add(stage);
  for (const kernels::Stage& stage : task.weight_stages) add(stage);
  return summed;
}

std::int64_t key_blocks(const kernels::BackwardTask& task, const plan::Sequence& sequence) {
  const std::int64_t size = kernels::block_keys(task.inputs.q.shape[3], task.inputs.v.shape[3], sequence.k_rows);
  return std::max<std::int64_t>(1, (sequence.k_rows + size - 1) / size);
}

}  // namespace

void count_blocks(kernels::BackwardTask& task) {
  task.sequences = static_cast<std::int64_t>(task.layout->sequences.size());
  task.blocks = 0;
  for (const plan::Sequence& sequence : task.layout->sequences) task.blocks = std::max(task.blocks, key_blocks(task, sequence));
}

std::int64_t cut_backward(kernels::BackwardTask& task) {
  find_chunk_keys(task);
  task.items.clear();
  task.first_ticket.clear();
  const plan::Layout& layout = *task.layout;
  const auto sequences = static_cast<std::int32_t>(layout.sequences.size());
  const auto kv_heads = static_cast<std::int32_t>(task.inputs.k.shape[1]);
  const std::int64_t heads = task.inputs.q.shape[1];
  const std::int64_t blocks = task.blocks;
  std::int64_t tickets = 0;
  bool spans = false;
  for (const plan::Sequence& sequence : layout.sequences) {
    spans |= key_blocks(task, sequence) > 1;
    task.first_ticket.push_back(tickets);
    tickets += heads * ((sequence.len_q + kernels::kQueryChunk - 1) / kernels::kQueryChunk);
  }
  // An item owns its keys' gradients; where a bias gradient is summed over an axis, one item walks that whole axis, in order.
  const Summed summed = summed_axes(task);
  const bool all_sequences = summed.batch || summed.everything;
  const std::int64_t block_step = summed.keys ? blocks : 1;
  const std::int32_t sequence_step = all_sequences ? sequences : 1, kv_step = summed.heads ? kv_heads : 1;
  for (std::int64_t b = 0; b < blocks; b += std::max<std::int64_t>(1, block_step)) {
    for (std::int32_t s = 0; s < sequences; s += std::max(1, sequence_step)) {
      for (std::int32_t kv = 0; kv < kv_heads; kv += std::max(1, kv_step)) {
        task.items.push_back({b, std::min(blocks, b + block_step), s, s + sequence_step, kv, kv + kv_step});
      }
    }
  }
  return spans ? tickets : 0;
}

}  // namespace regard::schedule
