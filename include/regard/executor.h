// SPDX-License-Identifier: Apache-2.0
// Where the work runs.
//
// An executor starts workers and waits for them; nothing else. The core cuts its work into items
// whatever the number of workers, who share them out among themselves: results never depend on who
// did what.
#pragma once

#include <functional>

namespace regard {

class Executor {
 public:
  virtual ~Executor() = default;

  // How many workers run() would start at most; at least 1.
  virtual int max_workers() const = 0;

  // Calls worker(w) once for each w in [0, workers), at the same time where it can, and returns
  // when all have returned. It may run them one after another: no worker waits for one with a
  // higher number. `workers` is between 1 and max_workers(). `worker` does not throw.
  virtual void run(int workers, const std::function<void(int)>& worker) const = 0;
};

// Everything on the calling thread.
const Executor& serial_executor();

// Plain std::threads, started for each call: for thread sanitizers, and for programs without a
// pool.
class ThreadExecutor final : public Executor {
 public:
  explicit ThreadExecutor(int workers);
  int max_workers() const override { return workers_; }
  void run(int workers, const std::function<void(int)>& worker) const override;

 private:
  int workers_;
};

// A host program's own pool: `parallel(workers, f)` must call f(0) ... f(workers - 1) and wait.
class HostExecutor final : public Executor {
 public:
  using Parallel = std::function<void(int workers, const std::function<void(int)>& worker)>;
  HostExecutor(int max_workers, Parallel parallel)
      : max_workers_(max_workers), parallel_(std::move(parallel)) {}
  int max_workers() const override { return max_workers_; }
  void run(int workers, const std::function<void(int)>& worker) const override {
    parallel_(workers, worker);
  }

 private:
  int max_workers_;
  Parallel parallel_;
};

// What forward() and backward() use when no executor is given: serial_executor() until
// set_default_executor() is called. The executor must outlive its use.
const Executor& default_executor();
void set_default_executor(const Executor* executor);

}  // namespace regard
