// SPDX-License-Identifier: Apache-2.0
#include "regard/executor.h"

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace regard {
namespace {

class SerialExecutor final : public Executor {
 public:
  int max_workers() const override { return 1; }
  void run(int workers, const std::function<void(int)>& worker) const override {
    for (int w = 0; w < workers; ++w) worker(w);
  }
};

std::atomic<const Executor*> chosen{nullptr};

}  // namespace

ThreadExecutor::ThreadExecutor(int workers) : workers_(workers < 1 ? 1 : workers) {}

void ThreadExecutor::run(int workers, const std::function<void(int)>& worker) const {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(workers - 1));
  int started = 1;
  try {
    for (; started < workers; ++started) threads.emplace_back(worker, started);
  } catch (const std::exception&) {  // the system has no more threads, or no memory for one: the
                                     // rest runs here, as the contract allows
  }
  worker(0);
  for (int w = started; w < workers; ++w) worker(w);
  for (std::thread& thread : threads) thread.join();
}

const Executor& serial_executor() {
  static const SerialExecutor executor;
  return executor;
}

const Executor& default_executor() {
  const Executor* executor = chosen.load(std::memory_order_acquire);
  return executor != nullptr ? *executor : serial_executor();
}

void set_default_executor(const Executor* executor) {
  chosen.store(executor, std::memory_order_release);
}

}  // namespace regard
