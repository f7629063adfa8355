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

// std::invalid_argument for an image without pixels, a map without cells, or one whose weights are
// not rows x columns finite numbers from 0.
void check_map(const image::Image& image, const HeatMap& map);

// The bytes of a PNG file. Small images are enlarged, pixel by pixel. The greatest weight is bright
// yellow, none is the grey image, darkened. What check_map() refuses is refused.
std::string heat_png(const image::Image& image, const HeatMap& map);

}  // namespace regard::picture
