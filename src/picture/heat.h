// SPDX-License-Identifier: Apache-2.0
// Where in an image a model looked: the image, and beside it the same under its map of weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regard/image/image.h"

namespace regard::picture {

// Weights of the cells of a grid that covers an image, row by row; none is negative.
struct HeatMap {
  std::int64_t rows = 0, columns = 0;
  std::vector<double> weights;
};

// The bytes of a PNG file. Small images are enlarged, pixel by pixel. The greatest weight is bright
// yellow, none is the grey image, darkened. std::invalid_argument for a map without cells or whose
// weights are not rows x columns finite numbers.
std::string heat_png(const image::Image& image, const HeatMap& map);

}  // namespace regard::picture
