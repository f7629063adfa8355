// SPDX-License-Identifier: Apache-2.0
#include "regard/executor_tbb.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

#include <mutex>

namespace regard {
namespace {

// oneTBB starts no more threads than the machine has, unless the process is allowed more. The
// allowance only grows: of several that live at once oneTBB takes the smallest, so that two
// executors with one each would take threads from one another.
void allow_threads(int threads) {
  static std::mutex mutex;
  static int allowed = tbb::info::default_concurrency();
  static std::unique_ptr<tbb::global_control> allowance;
  const std::lock_guard<std::mutex> lock(mutex);
  if (threads <= allowed) return;
  allowance.reset();
  allowance = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism,
                                                    static_cast<std::size_t>(threads));
  allowed = threads;
}

}  // namespace

struct TbbExecutor::Arena {
  explicit Arena(int slots) : workers(slots), arena(slots) {}
  int workers;
  tbb::task_arena arena;
};

TbbExecutor::TbbExecutor(int workers)
    : arena_(std::make_unique<Arena>(workers > 0 ? workers : tbb::info::default_concurrency())) {
  allow_threads(arena_->workers);
}

TbbExecutor::~TbbExecutor() = default;

int TbbExecutor::max_workers() const { return arena_->workers; }

void TbbExecutor::run(int workers, const std::function<void(int)>& worker) const {
  if (workers == 1) {
    worker(0);
    return;
  }
  // One task for each worker, so that idle threads can steal every one of them. Which thread runs
  // which worker does not matter to results.
  arena_->arena.execute([&] { tbb::parallel_for(0, workers, worker, tbb::simple_partitioner{}); });
}

}  // namespace regard
