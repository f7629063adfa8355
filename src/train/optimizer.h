// SPDX-License-Identifier: Apache-2.0
// libtorch's Adam and AdamW, with its fused update: one pass over the memory of weights, gradients
// and moments instead of a dozen.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "regard/train/options.h"

namespace regard::train {

// What options.optimizer names, with its state as torch::optim::Adam or AdamW keeps it.
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const TrainOptions& options,
                                                        std::vector<torch::Tensor> parameters);

}  // namespace regard::train
