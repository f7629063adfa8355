// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/run.h"

#include <algorithm>
#include <atomic>

#include "core/schedule/float_mode.h"
#include "core/schedule/scratch.h"

namespace regard::schedule {
namespace {

// Multiply-adds below which a second worker costs more to wake than it saves (about 5 us of one
// core).
constexpr double kWorthAWorker = 2.5e5;

// Small items are taken a few at a time: neighbours read memory side by side. As long as each
// worker still takes some often.
constexpr double kSmallItem = 1e6;  // multiply-adds
constexpr std::size_t kMostAtOnce = 8, kTakes = 8;

// Many items of at most this size that wait for nobody are split into a range for each worker, as
// PyTorch splits its own work: what a worker reads is then likely to be in its own core's cache
// already. Idle workers steal from other ranges.
constexpr double kSplitItem = 8e6;
constexpr std::size_t kItemsEach = 2;  // items to a worker, at least
constexpr std::size_t kMostRanges = 32;

struct alignas(64) ItemRange {
  std::atomic<std::size_t> next{0};
  std::size_t end = 0;
};

struct Work {
  std::size_t ranges, at_once;
  ItemFunction function;
  const void* task;
  std::size_t scratch_bytes;
  std::uint32_t mode;
  ItemRange list[kMostRanges];

  void split(std::size_t count) {
    for (std::size_t s = 0; s < ranges; ++s) {
      list[s].next.store(s * count / ranges, std::memory_order_relaxed);
      list[s].end = (s + 1) * count / ranges;
    }
  }
  bool done() const {
    return std::all_of(list, list + ranges, [](const ItemRange& s) {
      return s.next.load(std::memory_order_relaxed) >= s.end;
    });
  }

  void work(std::size_t worker) {
    const FloatMode mode_of_caller(mode);
    // A worker that gets no memory takes no item: the others do its share, and nobody waits for it.
    const ScratchMemory scratch(scratch_bytes);
    if (scratch.data() == nullptr) return;
    for (std::size_t turn = 0; turn < ranges; ++turn) {
      ItemRange& own = list[(worker + turn) % ranges];
      const auto take = [&own, this] {
        return own.next.fetch_add(at_once, std::memory_order_relaxed);
      };
      for (std::size_t first = take(); first < own.end; first = take()) {
        for (std::size_t item = first; item < std::min(own.end, first + at_once); ++item)
          function(task, item, scratch.data());
      }
    }
  }
};

}  // namespace

Status run_items(const Executor& executor, std::size_t count, double work,
                 std::size_t scratch_bytes, ItemFunction function, const void* task,
                 ItemOrder order, Denormals denormals) {
  if (count == 0) return {};
  const double worth = std::max(1.0, work / kWorthAWorker),
               item = work / static_cast<double>(count);
  const auto workers =
      static_cast<std::size_t>(std::min({static_cast<double>(std::max(1, executor.max_workers())),
                                         static_cast<double>(count), worth}));
  const bool by_range =
      order == ItemOrder::kAny && item <= kSplitItem && count >= kItemsEach * workers;
  const std::size_t at_once =
      item > kSmallItem ? 1 : std::clamp(count / (kTakes * workers), std::size_t{1}, kMostAtOnce);
  Work run{by_range ? std::min(workers, kMostRanges) : 1,
           at_once,
           function,
           task,
           scratch_bytes,
           denormals == Denormals::kFlush ? flushing_mode() : float_mode(),
           {}};
  run.split(count);
  if (workers == 1) {
    run.work(0);
  } else {
    executor.run(static_cast<int>(workers),
                 [&run](int worker) { run.work(static_cast<std::size_t>(worker)); });
  }
  if (!run.done()) {
    return {StatusCode::kOutOfMemory, "scratch: " + std::to_string(scratch_bytes) +
                                          " bytes for a worker could not be allocated"};
  }
  return {};
}

}  // namespace regard::schedule
