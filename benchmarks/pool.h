// SPDX-License-Identifier: Apache-2.0
// A few threads that stay: so that a measured call starts none and allocates nothing for them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "regard/executor.h"

namespace regard::bench {

class Pool final : public Executor {
 public:
  explicit Pool(int workers) {
    for (int w = 1; w < workers; ++w) threads_.emplace_back([this, w] { serve(w); });
  }

  ~Pool() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int max_workers() const override { return static_cast<int>(threads_.size()) + 1; }

  void run(int workers, const std::function<void(int)>& worker) const override {
    {
      const std::lock_guard lock(mutex_);
      job_ = &worker;
      wanted_ = workers;
      busy_ = workers - 1;
      ++round_;
    }
    changed_.notify_all();
    worker(0);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve(int w) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
      if (w >= wanted_) continue;
      const std::function<void(int)>& job = *job_;
      lock.unlock();
      job(w);
      lock.lock();
      if (--busy_ == 0) changed_.notify_all();
    }
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable const std::function<void(int)>* job_ = nullptr;
  mutable int wanted_ = 0, busy_ = 0;
  mutable std::uint64_t round_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace regard::bench
