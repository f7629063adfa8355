// SPDX-License-Identifier: Apache-2.0
// What tells DETR where a place of a feature map lies.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace regard::nn {

// visible (batch, height, width), bool, false where an image is padded -> (batch, height * width,
// dim) float32: sines and cosines of the row in the first half, of the column in the second. Rows
// and columns count the visible places before them, of which an image has 2 pi (section A.4 of
// Carion et al. 2020, arXiv 2005.12872). dim is a multiple of 4.
torch::Tensor sine_positions(const torch::Tensor& visible, std::int64_t dim);

}  // namespace regard::nn
