// SPDX-License-Identifier: Apache-2.0
#include "torch_ops/executor.h"

#include <torch/csrc/stable/ops.h>

namespace regard::torch_ops {

int TorchExecutor::max_workers() const {
  return static_cast<int>(torch::stable::get_num_threads());
}

void TorchExecutor::run(int workers, const std::function<void(int)>& worker) const {
  if (workers == 1) return worker(0);
  torch::stable::parallel_for(0, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t w = begin; w < end; ++w) worker(static_cast<int>(w));
  });
}

}  // namespace regard::torch_ops
