// SPDX-License-Identifier: Apache-2.0
#include "nn/vision/detr_positions.h"

#include <cmath>
#include <numbers>

namespace regard::nn {

torch::Tensor sine_positions(const torch::Tensor& visible, std::int64_t dim) {
  const std::int64_t half = dim / 2;
  const torch::Tensor pair =
      torch::div(torch::arange(half, torch::kFloat32), 2, /*rounding_mode=*/"floor");
  const torch::Tensor wavelengths = torch::pow(10000.0, 2 * pair / half);
  const auto along = [&](std::int64_t axis) {
    const torch::Tensor places = visible.to(torch::kFloat32).cumsum(axis);
    const torch::Tensor last = places.narrow(axis, places.size(axis) - 1, 1);
    const torch::Tensor angles =
        (places / (last + 1e-6) * (2 * std::numbers::pi)).unsqueeze(-1) / wavelengths;
    return torch::stack({angles.slice(-1, 0, half, 2).sin(), angles.slice(-1, 1, half, 2).cos()},
                        -1)
        .flatten(-2);
  };
  return torch::cat({along(1), along(2)}, -1).flatten(1, 2);
}

}  // namespace regard::nn
