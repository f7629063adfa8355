// SPDX-License-Identifier: Apache-2.0
// Pictures over an image: boxes with labels, and where a model looked.
#pragma once

#include <string>
#include <vector>

#include "picture/heat.h"
#include "regard/image/image.h"

namespace regard::picture {

// A rectangle of an image in its pixels, with what stands above it.
struct Box {
  double x = 0, y = 0, width = 0, height = 0;
  std::string label;
};

// The bytes of a PNG file: the image, enlarged where it is small, with its boxes.
std::string boxes_png(const image::Image& photograph, const std::vector<Box>& boxes);

// How many pixels of that picture are one of the image, in each direction.
int boxes_scale(const image::Image& photograph);

// A picture for each map beside the others: the image in greys, under it the map in colours from
// black (0) over red to yellow (the map's greatest), and its box.
std::string heat_maps_png(const image::Image& photograph, const std::vector<HeatMap>& maps,
                          const std::vector<Box>& boxes);

}  // namespace regard::picture
