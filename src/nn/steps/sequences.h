// SPDX-License-Identifier: Apache-2.0
// Whole sequences through a Recurrent while gradients are recorded. libtorch's own layers step
// through packed sequences by narrowing them, whose backward pass writes a tensor of all steps'
// size at every step, and adds up the gradients of weights a step at a time.
#pragma once

#include <torch/torch.h>

#include <utility>

#include "regard/nn/rnn.h"

namespace regard::nn {

// RecurrentImpl::forward with the cells of nn/steps/cells.h. lengths may be undefined: all rows
// are whole.
std::pair<torch::Tensor, RecurrentState> through_steps(const RecurrentImpl& recurrent,
                                                       const torch::Tensor& input,
                                                       const torch::Tensor& lengths,
                                                       const RecurrentState& initial);

}  // namespace regard::nn
