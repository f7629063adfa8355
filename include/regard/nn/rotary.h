// SPDX-License-Identifier: Apache-2.0
// Rotary position embeddings (Su et al. 2021, arXiv 2104.09864): each pair of a query's or key's
// columns (i, i + dim / 2) is turned by its position times a frequency, so that scores depend on
// how far apart two positions are.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>

namespace regard::nn {

struct RotaryOptions {
  double theta = 10000;  // frequency of pair i: theta^(-2 i / dim)
  // How frequencies are stretched for sequences longer than those of training: "default" (not),
  // "linear" (all by `factor`), or "llama3" (low ones by `factor`, high ones not, in between
  // gradually; Llama 3.1).
  std::string type = "default";
  double factor = 1;
  double low_frequency_factor = 1, high_frequency_factor = 4;
  std::int64_t original_length = 8192;
};

// The frequencies, (dim / 2) float32. std::invalid_argument for an odd dim or an unknown type.
torch::Tensor rotary_frequencies(std::int64_t dim, const RotaryOptions& options);

// Cosine and sine of every angle.
struct RotaryAngles {
  // (..., 1, dim): positions' shape, one for all heads. A pair's columns have one angle; the first
  // has its sine with a minus, as rotate() takes it.
  torch::Tensor cos, sin;
};
// positions: int64 of any shape.
RotaryAngles rotary_angles(const torch::Tensor& positions, const torch::Tensor& frequencies);

// x (..., heads, dim), whose leading dimensions broadcast with the positions'.
torch::Tensor rotate(const torch::Tensor& x, const RotaryAngles& angles);

}  // namespace regard::nn
