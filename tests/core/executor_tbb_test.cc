// SPDX-License-Identifier: Apache-2.0
// The oneTBB executor: every worker is called once, and there are as many threads at once as were
// asked for.
#include "regard/executor_tbb.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace {

using regard::TbbExecutor;

// Workers wait here for each other. Only as many threads as there are workers can all arrive: one
// thread that runs two of them would wait for itself until the time is over.
class Rendezvous {
 public:
  explicit Rendezvous(std::size_t expected) : expected_(expected) {}

  void arrive() {
    std::unique_lock<std::mutex> lock(mutex_);
    threads_.insert(std::this_thread::get_id());
    if (threads_.size() == expected_) all_here_.notify_all();
    all_here_.wait_for(lock, std::chrono::seconds(20),
                       [this] { return threads_.size() == expected_; });
  }

  std::size_t threads() const { return threads_.size(); }

 private:
  const std::size_t expected_;
  std::mutex mutex_;
  std::condition_variable all_here_;
  std::set<std::thread::id> threads_;
};

void expect_each_worker_once(const TbbExecutor& executor, int workers) {
  std::vector<std::atomic<int>> calls(static_cast<std::size_t>(workers));
  executor.run(workers, [&](int w) {
    ASSERT_GE(w, 0);
    ASSERT_LT(w, workers);
    ++calls[static_cast<std::size_t>(w)];
  });
  for (int w = 0; w < workers; ++w)
    EXPECT_EQ(calls[static_cast<std::size_t>(w)], 1) << "worker " << w << " of " << workers;
}

TEST(ExecutorTbb, CallsEachWorkerOnce) {
  for (const int slots : {1, 2, 3, 8}) {
    const TbbExecutor executor(slots);
    ASSERT_EQ(executor.max_workers(), slots);
    for (int round = 0; round < 50; ++round) {
      for (int workers = 1; workers <= slots; ++workers) expect_each_worker_once(executor, workers);
    }
  }
}

TEST(ExecutorTbb, RunsAsManyThreadsAsAsked) {
  for (const int workers : {1, 2, 3, 8}) {
    const TbbExecutor executor(workers);
    Rendezvous rendezvous(static_cast<std::size_t>(workers));
    executor.run(workers, [&](int) { rendezvous.arrive(); });
    EXPECT_EQ(rendezvous.threads(), static_cast<std::size_t>(workers));
  }
}

TEST(ExecutorTbb, ASmallerExecutorTakesNoThreadsFromALargerOne) {
  const TbbExecutor large(6);
  const TbbExecutor small(3);
  Rendezvous rendezvous(6);
  large.run(6, [&](int) { rendezvous.arrive(); });
  EXPECT_EQ(rendezvous.threads(), 6u);
}

TEST(ExecutorTbb, ZeroMeansTheMachine) { EXPECT_GE(TbbExecutor().max_workers(), 1); }

TEST(ExecutorTbb, ServesSeveralCallersAtOnce) {
  const TbbExecutor executor(3);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) expect_each_worker_once(executor, 3);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
