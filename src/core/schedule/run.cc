#include "core/schedule/run.h"

#include <algorithm>
#include <atomic>

#include "core/schedule/float_mode.h"
#include "core/schedule/scratch.h"

namespace regard::schedule {
namespace {

// Multiply-adds below which a second worker costs more to wake than it saves (about 5 us of one core).
constexpr double kWorthAWorker = 2.5e5;

struct Draw {
  std::size_t count;
  ItemFunction function;
  const void* task;
  std::size_t scratch_bytes;
  std::uint32_t mode;
  std::atomic<std::size_t> next{0};

  void work() {
    const FloatMode mode_of_caller(mode);
    // A worker that gets no memory draws no item: the others do its share, and nobody waits for it.
    const Scratch scratch(scratch_bytes);
    if (scratch.data() == nullptr) return;
    for (std::size_t item = next.fetch_add(1, std::memory_order_relaxed); item < count;
         item = next.fetch_add(1, std::memory_order_relaxed)) {
      function(task, item, scratch.data());
    }
  }
};

}  // namespace

Status run_items(const Executor& executor, std::size_t count, double work, std::size_t scratch_bytes, ItemFunction function,
                 const void* task) {
  if (count == 0) return {};
  Draw draw{count, function, task, scratch_bytes, float_mode()};
  const double worth = std::max(1.0, work / kWorthAWorker);
  const int workers =
      static_cast<int>(std::min({static_cast<double>(std::max(1, executor.max_workers())), static_cast<double>(count), worth}));
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
