// SPDX-License-Identifier: Apache-2.0
#include "regard/image/augment.h"

#include <cmath>
#include <numbers>
#include <stdexcept>

namespace regard::image {
namespace {

void check_range(const char* name, double value, double most) {
  if (value >= 0 && value <= most) return;
  throw std::invalid_argument(std::string(name) + ": " + std::to_string(value) +
                              "; expected 0 to " + std::to_string(most));
}

// -1 to 1, the same with every standard library.
double drawn_number(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1.0p-52 - 1;
}

}  // namespace

void check(const AugmentOptions& options) {
  check_range("shift", options.shift, 0.5);
  check_range("scale", options.scale, 0.9);
  check_range("rotate", options.rotate, 180);
}

torch::Tensor augmented(const torch::Tensor& pixels, const AugmentOptions& options,
                        std::mt19937_64& random) {
  if (!options.any()) return pixels;
  const torch::NoGradGuard no_gradients;
  torch::Tensor maps = torch::empty({pixels.size(0), 2, 3});
  const double wide = static_cast<double>(pixels.size(3)) / static_cast<double>(pixels.size(2));
  for (std::int64_t i = 0; i < pixels.size(0); ++i) {
    const double angle = drawn_number(random) * options.rotate * std::numbers::pi / 180;
    const double size = 1 + drawn_number(random) * options.scale;
    const double across = 2 * options.shift * drawn_number(random);
    const double down = 2 * options.shift * drawn_number(random);
    const double mirror = drawn_number(random) < 0 && options.flip ? -1 : 1;
    // From a place of the result to one of the image, both from -1 to 1 in height and in width.
    float* map = maps[i].data_ptr<float>();
    const double cosine = std::cos(angle) / size, sine = std::sin(angle) / size;
    map[0] = static_cast<float>(mirror * cosine);
    map[1] = static_cast<float>(mirror * -sine / wide);
    map[2] = static_cast<float>(across);
    map[3] = static_cast<float>(sine * wide);
    map[4] = static_cast<float>(cosine);
    map[5] = static_cast<float>(down);
  }
  const torch::Tensor grid = at::affine_grid_generator(maps, pixels.sizes(), false);
  constexpr std::int64_t kBilinear = 0, kEdge = 1;
  return at::grid_sampler(pixels, grid, kBilinear, kEdge, /*align_corners=*/false);
}

}  // namespace regard::image
