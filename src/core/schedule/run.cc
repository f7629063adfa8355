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

// Small items are drawn a few at a time: neighbours read memory side by side. As long as each
// worker still draws often.
constexpr double kSmallItem = 1e6;  // multiply-adds
constexpr std::size_t kMostAtOnce = 8, kDraws = 8;

// Many items of at most this size that wait for nobody are dealt out, a stretch to each worker, as
// PyTorch deals its own work: what a worker reads is then likely to be in its own core's cache
// already. Who has done his draws from the stretches of others.
constexpr double kDealtItem = 8e6;
constexpr std::size_t kDealtEach = 2;  // items to a worker, at least
constexpr std::size_t kMostStretches = 32;

struct alignas(64) Stretch {
  std::atomic<std::size_t> next{0};
  std::size_t end = 0;
};

struct Draw {
  std::size_t stretches, at_once;
  ItemFunction function;
  const void* task;
  std::size_t scratch_bytes;
  std::uint32_t mode;
  Stretch list[kMostStretches];

  void deal(std::size_t count) {
    for (std::size_t s = 0; s < stretches; ++s) {
      list[s].next.store(s * count / stretches, std::memory_order_relaxed);
      list[s].end = (s + 1) * count / stretches;
    }
  }
  bool done() const {
    return std::all_of(list, list + stretches, [](const Stretch& s) {
      return s.next.load(std::memory_order_relaxed) >= s.end;
    });
  }

  void work(std::size_t worker) {
    const FloatMode mode_of_caller(mode);
    // A worker that gets no memory draws no item: the others do its share, and nobody waits for it.
    const Scratch scratch(scratch_bytes);
    if (scratch.data() == nullptr) return;
    for (std::size_t turn = 0; turn < stretches; ++turn) {
      Stretch& own = list[(worker + turn) % stretches];
      const auto draw = [&own, this] {
        return own.next.fetch_add(at_once, std::memory_order_relaxed);
      };
      for (std::size_t first = draw(); first < own.end; first = draw()) {
        for (std::size_t item = first; item < std::min(own.end, first + at_once); ++item)
          function(task, item, scratch.data());
      }
    }
  }
};

}  // namespace

Status run_items(const Executor& executor, std::size_t count, double work,
                 std::size_t scratch_bytes, ItemFunction function, const void* task,
                 ItemOrder order) {
  if (count == 0) return {};
  const double worth = std::max(1.0, work / kWorthAWorker),
               item = work / static_cast<double>(count);
  const auto workers =
      static_cast<std::size_t>(std::min({static_cast<double>(std::max(1, executor.max_workers())),
                                         static_cast<double>(count), worth}));
  const bool dealt =
      order == ItemOrder::kAny && item <= kDealtItem && count >= kDealtEach * workers;
  const std::size_t at_once = dealt || item > kSmallItem ? 1
                                                         : std::clamp(count / (kDraws * workers),
                                                                      std::size_t{1}, kMostAtOnce);
  Draw draw{dealt ? std::min(workers, kMostStretches) : 1,
            at_once,
            function,
            task,
            scratch_bytes,
            float_mode(),
            {}};
  draw.deal(count);
  if (workers == 1) {
    draw.work(0);
  } else {
    executor.run(static_cast<int>(workers),
                 [&draw](int worker) { draw.work(static_cast<std::size_t>(worker)); });
  }
  if (!draw.done()) {
    return {StatusCode::kOutOfMemory, "scratch: " + std::to_string(scratch_bytes) +
                                          " bytes for a worker could not be allocated"};
  }
  return {};
}

}  // namespace regard::schedule
