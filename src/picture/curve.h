// SPDX-License-Identifier: Apache-2.0
// Lines over a common axis: how a training went.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "picture/canvas.h"

namespace regard::picture {

struct Series {
  std::string name;
  Colour colour;
  std::vector<std::pair<double, double>> points;  // x rising
};

// The bytes of a PNG file with both axes, a legend, and a line for each series. Points that are not
// finite are left out; without any point the axes are empty.
std::string curve_png(const std::string& title, const std::string& x_name,
                      const std::vector<Series>& series);

}  // namespace regard::picture
