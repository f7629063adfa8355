// SPDX-License-Identifier: Apache-2.0
// The core's workers on PyTorch's own threads: torch.set_num_threads is honoured, and no second
// pool spins beside it.
#pragma once

#include "regard/executor.h"

namespace regard::torch_ops {

class TorchExecutor final : public Executor {
 public:
  int max_workers() const override;
  void run(int workers, const std::function<void(int)>& worker) const override;
};

}  // namespace regard::torch_ops
