// SPDX-License-Identifier: Apache-2.0
// What vision models share: patches as tokens, and maps of tokens.
#pragma once

#include <torch/torch.h>

namespace regard::nn {

// As these papers draw tokens and positions: a normal distribution of 0.02.
inline torch::Tensor drawn(torch::IntArrayRef sizes) {
  return torch::nn::init::normal_(torch::empty(sizes), 0, 0.02);
}

// A linear layer over each patch's pixels: (batch, channels, height, width) -> (batch, dim, rows,
// columns).
inline torch::nn::Conv2d patch_embedding(std::int64_t channels, std::int64_t dim,
                                         std::int64_t patch) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, dim, patch).stride(patch));
}

// (batch, patches) of a grid of so many rows -> (batch, rows, columns), each adding up to 1.
inline torch::Tensor as_map(const torch::Tensor& weights, std::int64_t rows) {
  const torch::Tensor sums = weights.sum(-1, /*keepdim=*/true).clamp_min(1e-30);
  return (weights / sums).unflatten(-1, {rows, -1});
}

}  // namespace regard::nn
