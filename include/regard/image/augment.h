// SPDX-License-Identifier: Apache-2.0
// Images changed a little at random, so that a model learns what does not matter.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <random>

namespace regard::image {

struct AugmentOptions {
  double shift = 0;   // to each side at most, as a share of height and width: 0 to 0.5
  double scale = 0;   // larger or smaller by at most this share: 0 to 0.9
  double rotate = 0;  // to either side at most, in degrees: 0 to 180
  bool flip = false;  // half of the images are mirrored, left to right

  bool any() const { return shift > 0 || scale > 0 || rotate > 0 || flip; }
};

// std::invalid_argument names the option, what it is and what was expected.
void check(const AugmentOptions& options);

// pixels (batch, channels, height, width) -> the same shape; each image is changed by itself, by
// numbers from `random` alone. What comes in from outside repeats the image's edge.
torch::Tensor augmented(const torch::Tensor& pixels, const AugmentOptions& options,
                        std::mt19937_64& random);

}  // namespace regard::image
