#include "core/schedule/run.h"

#include <algorithm>
#include <atomic>

#include "core/schedule/float_mode.h"
#include "core/schedule/scratch.h"

namespace regard::schedule {
namespace {

// Multiply-adds below which a second worker costs more to wake than it saves (about 5 us of one core).
constexpr double kWorthAWorker = 2.5e5;

// Small items are drawn a few at a time: neighbours read memory side by side. As long as each worker still draws often.
constexpr double kSmallItem = 1e6;  // multiply-adds
constexpr std::size_t kMostAtOnce = 8, kDraws = 8;

struct Draw {
  std::size_t count, at_once;
  ItemFunction function;
  const void* task;
  std::size_t scratch_bytes;
  std::uint32_t mode;
  std::atomic<std::size_t> next{0};

  std::size_t draw() { return next.fetch_add(at_once, std::memory_order_relaxed); }

  void work() {
    const FloatMode mode_of_caller(mode);
    // A worker that gets no memory draws no item: the others do its share, and nobody waits for it.
    const Scratch scratch(scratch_bytes);
    if (scratch.data() == nullptr) return;
    for (std::size_t first = draw(); first < count; first = draw()) {
      for (std::size_t item = first; item < std::min(count, first + at_once); ++item) function(task, item, scratch.data());
    }
  }
};

}  // namespace

Status run_items(const Executor& executor, std::size_t count, double work, std::size_t scratch_bytes, ItemFunction function,
                 const void* task) {
  if (count == 0) return {};
  const double worth = std::max(1.0, work / kWorthAWorker);
  const int workers =
      static_cast<int>(std::min({static_cast<double>(std::max(1, executor.max_workers())), static_cast<double>(count), worth}));
  const std::size_t at_once = work / static_cast<double>(count) > kSmallItem
                                  ? 1
                                  : std::clamp(count / (kDraws * static_cast<std::size_t>(workers)), std::size_t{1}, kMostAtOnce);
  Draw draw{count, at_once, function, task, scratch_bytes, float_mode()};
  if (workers == 1) {
    draw.work();
  } else {
    executor.run(workers, [&draw](int) { draw.work(); });
  }
  if (draw.next.load(std::memory_order_relaxed) < count) {
    return {StatusCode::kOutOfMemory, "scratch: " + std::to_string(scratch_bytes) + " bytes for a worker could not be allocated"};
  }
  return {};
}

}  // namespace regard::schedule
