// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/backward_items.h"

#include <algorithm>

#include "core/kernels/carve.h"

namespace regard::schedule {
namespace {

using Run = kernels::BackwardTask::Run;

// The runs of key blocks that the rows of units [first, last) see.
void find_runs(const plan::Layout& layout, std::size_t s, std::int32_t head, std::int64_t first,
               std::int64_t last, std::int64_t size, std::vector<Run>& runs) {
  thread_local std::vector<Run> found;
  found.clear();
  for (std::int64_t u = first; u < last; ++u) {
    for (const plan::Interval& interval : layout.unit(s, head, u)) {
      found.push_back({static_cast<std::int32_t>(interval.begin / size),
                       static_cast<std::int32_t>((interval.end - 1) / size + 1)});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Run& a, const Run& b) { return a.begin < b.begin; });
  const std::size_t before = runs.size();
  for (const Run& run : found) {
    if (runs.size() > before && run.begin <= runs.back().end) {
      runs.back().end = std::max(runs.back().end, run.end);
    } else {
      runs.push_back(run);
    }
  }
}

void find_chunk_runs(kernels::BackwardTask& task) {
  task.chunk_runs.clear();
  task.block_chunks.clear();
  task.run_offsets.clear();
  task.first_chunk.clear();
  task.first_block.clear();
  const plan::Layout& layout = *task.layout;
  if (layout.mask == nullptr) return;
  constexpr std::int64_t kUnits = kernels::kQueryChunk / plan::kRowUnit;
  task.run_offsets.push_back(0);
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const std::int64_t units = layout.units(s),
                       size = kernels::block_keys(task, layout.sequences[s]);
    const std::int64_t blocks = (layout.sequences[s].len_k + size - 1) / size;
    for (std::int32_t h = 0; h < layout.mask_heads; ++h) {
      task.first_chunk.push_back(static_cast<std::int64_t>(task.run_offsets.size()) - 1);
      task.first_block.push_back(static_cast<std::int64_t>(task.block_chunks.size()));
      task.block_chunks.resize(task.block_chunks.size() + static_cast<std::size_t>(blocks), {0, 0});
      Run* const seen_by = task.block_chunks.data() + task.first_block.back();
      for (std::int64_t first = 0; first < units; first += kUnits) {
        const std::size_t before = task.chunk_runs.size();
        find_runs(layout, s, h, first, std::min(units, first + kUnits), size, task.chunk_runs);
        task.run_offsets.push_back(static_cast<std::int64_t>(task.chunk_runs.size()));
        const auto chunk = static_cast<std::int32_t>(first / kUnits);
        for (std::size_t r = before; r < task.chunk_runs.size(); ++r) {
          for (std::int32_t b = task.chunk_runs[r].begin; b < task.chunk_runs[r].end; ++b) {
            if (seen_by[b].begin == seen_by[b].end) seen_by[b].begin = chunk;
            seen_by[b].end = chunk + 1;
          }
        }
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
    const auto spread = [&stage](std::size_t axis, std::int64_t size) {
      return stage.gradient.strides[axis] == 0 && size > 1;
    };
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
  const std::int64_t size = kernels::block_keys(task, sequence);
  return std::max<std::int64_t>(1, (sequence.k_rows + size - 1) / size);
}

}  // namespace

void count_blocks(kernels::BackwardTask& task) {
  task.sequences = static_cast<std::int64_t>(task.layout->sequences.size());
  task.blocks = 0;
  for (const plan::Sequence& sequence : task.layout->sequences)
    task.blocks = std::max(task.blocks, key_blocks(task, sequence));
}

std::int64_t cut_backward(kernels::BackwardTask& task) {
  find_chunk_runs(task);
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
  // An item owns its keys' gradients; where a bias gradient is summed over an axis, one item walks
  // that whole axis, in order.
  const Summed summed = summed_axes(task);
  const bool all_sequences = summed.batch || summed.everything;
  const std::int64_t block_step = summed.keys ? blocks : 1;
  const std::int32_t sequence_step = all_sequences ? sequences : 1,
                     kv_step = summed.heads ? kv_heads : 1;
  for (std::int64_t b = 0; b < blocks; b += std::max<std::int64_t>(1, block_step)) {
    for (std::int32_t s = 0; s < sequences; s += std::max(1, sequence_step)) {
      for (std::int32_t kv = 0; kv < kv_heads; kv += std::max(1, kv_step)) {
        task.items.push_back(
            {b, std::min(blocks, b + block_step), s, s + sequence_step, kv, kv + kv_step});
      }
    }
  }
  return spans ? tickets : 0;
}

}  // namespace regard::schedule
