// SPDX-License-Identifier: Apache-2.0
// An executor on oneTBB. Link the target regard::regard_tbb.
#pragma once

#include <memory>

#include "regard/executor.h"

namespace regard {

// Workers run in an arena of oneTBB with up to `workers` threads; 0 means as many as the machine
// has.
class TbbExecutor final : public Executor {
 public:
  explicit TbbExecutor(int workers = 0);
  ~TbbExecutor() override;
  int max_workers() const override;
  void run(int workers, const std::function<void(int)>& worker) const override;

 private:
  struct Arena;
  std::unique_ptr<Arena> arena_;
};

}  // namespace regard
