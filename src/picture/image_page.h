// SPDX-License-Identifier: Apache-2.0
// A page that shows an image and, over it, the maps of where a model looked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "picture/heat.h"
#include "picture/photograph.h"

namespace regard::picture {

struct ImageMap {
  std::string name;
  HeatMap map;
  std::optional<Box> box;  // what the map belongs to, where it belongs to a part of the image
};

// The bytes of an HTML file that stands alone: a button for each map, and the weight of the cell
// under the pointer. std::invalid_argument without a map or for one that heat_png() refuses.
std::string image_page(const std::string& title, const image::Image& photograph,
                       const std::vector<ImageMap>& maps);

}  // namespace regard::picture
