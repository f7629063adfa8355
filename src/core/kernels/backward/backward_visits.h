// SPDX-License-Identifier: Apache-2.0
// Which chunks of queries meet which blocks of keys in the backward pass, and in which order blocks
// add to a chunk's dq.
#pragma once

#include <algorithm>
#include <span>

#include "core/kernels/kernels.h"

namespace regard::kernels {

// Where a block stands among those that add to a chunk's dq: `before` is 1 + the one whose turn is
// just before it, or 0.
struct BackwardTurn {
  std::int32_t before = 0;
  bool last = false;
};

// The visits of one sequence and query head.
class BackwardVisits {
 public:
  using Run = BackwardTask::Run;

  BackwardVisits() = default;
  BackwardVisits(const BackwardTask& task, std::size_t sequence, std::int32_t head,
                 std::int64_t block_keys)
      : task_(&task),
        index_(sequence * static_cast<std::size_t>(task.layout->mask_heads) +
               static_cast<std::size_t>(task.layout->mask_head(head))),
        chunks_((task.layout->sequences[sequence].len_q + kQueryChunk - 1) / kQueryChunk) {
    all_blocks_.end = static_cast<std::int32_t>(
        (task.layout->sequences[sequence].len_k + block_keys - 1) / block_keys);
  }

  std::int64_t chunks() const { return chunks_; }

  // All chunks that see a block lie in here.
  Run chunks_of(std::int64_t block) const {
    if (block >= all_blocks_.end) return {0, 0};
    if (hides_nothing()) return {0, static_cast<std::int32_t>(chunks_)};
    return task_->block_chunks[static_cast<std::size_t>(task_->first_block[index_] + block)];
  }
  // The blocks that a chunk's rows see.
  std::span<const Run> blocks_of(std::int64_t chunk) const {
    if (hides_nothing())
      return {&all_blocks_, all_blocks_.end > 0 ? std::size_t{1} : std::size_t{0}};
    const std::int64_t* offset = task_->run_offsets.data() + task_->first_chunk[index_] + chunk;
    return {task_->chunk_runs.data() + offset[0], static_cast<std::size_t>(offset[1] - offset[0])};
  }
  // Whether the chunk's rows see the block, and then its turn.
  bool meet(std::int64_t chunk, std::int64_t block, BackwardTurn* turn) const {
    const auto runs = blocks_of(chunk);
    const auto run = std::partition_point(runs.begin(), runs.end(),
                                          [block](const Run& r) { return r.end <= block; });
    if (run == runs.end() || run->begin > block) return false;
    turn->before = static_cast<std::int32_t>(block > run->begin    ? block
                                             : run == runs.begin() ? 0
                                                                   : (run - 1)->end);
    turn->last = block + 1 == run->end && run + 1 == runs.end();
    return true;
  }

 private:
  bool hides_nothing() const { return task_->run_offsets.empty(); }

  const BackwardTask* task_ = nullptr;
  std::size_t index_ = 0;
  std::int64_t chunks_ = 0;
  Run all_blocks_{0, 0};  // what every chunk sees where nothing is hidden
};

// The chunks that see a block, in the order in which it meets them. First those that the next block
// sees too, from the last to the first, so that its item, which starts soon after, need not wait:
// under a causal mask all blocks start together at the last chunk. Then the rest, upwards, in the
// order in which later blocks will need them.
class ChunkOrder {
 public:
  static constexpr std::int64_t kNone = -1;

  ChunkOrder(BackwardTask::Run own, BackwardTask::Run of_next_block)
      : begin_(own.begin),
        end_(own.end),
        turn_(of_next_block.begin == of_next_block.end
                  ? own.end
                  : std::clamp(of_next_block.end, own.begin, own.end)) {}

  std::int64_t first() const { return turn_ > begin_ ? turn_ - 1 : upwards_from(turn_); }
  std::int64_t after(std::int64_t chunk) const {
    if (chunk >= turn_) return upwards_from(chunk + 1);
    return chunk > begin_ ? chunk - 1 : upwards_from(turn_);
  }

 private:
  std::int64_t upwards_from(std::int64_t chunk) const { return chunk < end_ ? chunk : kNone; }

  std::int64_t begin_, end_, turn_;
};

}  // namespace regard::kernels
