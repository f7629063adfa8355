// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include <stdexcept>

namespace regard::nn {

// In a backward function whose own derivative is not known: create_graph asks for it.
inline void refuse_double_backward() {
  if (torch::GradMode::is_enabled())
    throw std::runtime_error(
        "regard::nn: double backward (a gradient of a gradient) through a recurrent network is not "
        "supported");
}

}  // namespace regard::nn
