// SPDX-License-Identifier: Apache-2.0
// Executors that watch, delay or reorder what they are given to run.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "regard/executor.h"

namespace regard::testing {

// Runs each worker on a thread of its own and counts the threads that were alive at once: no worker
// starts before all threads have. Later workers start a little later if asked, so that they meet
// work that is already under way.
class CountingExecutor final : public Executor {
 public:
  explicit CountingExecutor(int workers, std::chrono::microseconds stagger = {})
      : threads_(workers), stagger_(stagger) {}

  int max_workers() const override { return threads_.max_workers(); }

  void run(int workers, const std::function<void(int)>& worker) const override {
    std::mutex mutex;
    std::set<std::thread::id> ids;
    std::size_t arrived = 0;
    threads_.run(workers, [&](int w) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        ids.insert(std::this_thread::get_id());
        ++arrived;
      }
      for (bool all = false; !all; std::this_thread::yield()) {
        const std::lock_guard<std::mutex> lock(mutex);
        all = arrived == static_cast<std::size_t>(workers);
      }
      std::this_thread::sleep_for(stagger_ * w);
      worker(w);
    });
    const std::lock_guard<std::mutex> lock(mutex_);
    runs_.push_back(static_cast<int>(ids.size()));
  }

  // Distinct threads of each run so far.
  std::vector<int> runs() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return runs_;
  }
  int most_threads() const {
    const std::vector<int> all = runs();
    return all.empty() ? 0 : *std::max_element(all.begin(), all.end());
  }

 private:
  ThreadExecutor threads_;
  std::chrono::microseconds stagger_;
  mutable std::mutex mutex_;
  mutable std::vector<int> runs_;
};

// Offers several workers but runs them one after another on the calling thread, lowest first, as
// the contract allows.
class OneByOneExecutor final : public Executor {
 public:
  explicit OneByOneExecutor(int workers) : workers_(workers) {}
  int max_workers() const override { return workers_; }
  void run(int workers, const std::function<void(int)>& worker) const override {
    for (int w = 0; w < workers; ++w) worker(w);
  }

 private:
  int workers_;
};

}  // namespace regard::testing
