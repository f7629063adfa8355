// SPDX-License-Identifier: Apache-2.0
// The activations of feed-forward layers, by the names that configs have for them.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace regard::nn {

// "gelu" is x times the normal distribution's function (Hendrycks and Gimpel 2016, arXiv
// 1606.08415), "gelu_tanh" the same paper's approximation by a hyperbolic tangent.
inline const std::vector<std::string>& activations() {
  static const std::vector<std::string> names{"relu", "gelu", "gelu_tanh", "silu"};
  return names;
}

// Of a tensor that nobody else reads: without gradients its memory takes the result, which is the
// largest of an encoder's forward pass.
inline torch::Tensor activate(torch::Tensor x, const std::string& name) {
  const bool in_place = !torch::GradMode::is_enabled();
  if (name == "gelu") return in_place ? at::gelu_(x) : at::gelu(x);
  if (name == "gelu_tanh") return in_place ? at::gelu_(x, "tanh") : at::gelu(x, "tanh");
  if (name == "silu") return in_place ? at::silu_(x) : at::silu(x);
  return in_place ? at::relu_(x) : at::relu(x);
}

// std::invalid_argument for a name that is not among them.
inline void check_activation(const std::string& name) {
  if (std::find(activations().begin(), activations().end(), name) == activations().end())
    throw std::invalid_argument("activation: \"" + name +
                                "\"; expected relu, gelu, gelu_tanh or silu");
}

}  // namespace regard::nn
