// SPDX-License-Identifier: Apache-2.0
// Root mean square layer normalization (Zhang and Sennrich 2019, arXiv 1910.07467).
#pragma once

#include <torch/torch.h>

namespace regard::nn {

// x / sqrt(mean(x^2) + eps) * weight over the last dimension; x (..., dim), weight (dim). Computed
// in float32 at least, the result has x's dtype. The same as torch::rms_norm in fewer operations,
// which for a single token cost more than the numbers themselves, and in one pass over x less.
inline torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps) {
  const auto wide = torch::promote_types(x.scalar_type(), torch::kFloat32);
  const torch::Tensor y = x.to(wide);
  const torch::Tensor norm = torch::linalg_vector_norm(y, 2, -1, /*keepdim=*/true);
  const torch::Tensor mean = torch::addcmul(torch::scalar_tensor(eps, y.options()), norm, norm,
                                            1.0 / static_cast<double>(x.size(-1)));
  return (y * mean.rsqrt() * weight).to(x.scalar_type());
}

}  // namespace regard::nn
