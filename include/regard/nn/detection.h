// SPDX-License-Identifier: Apache-2.0
// What DETR found, as boxes in an image's pixels.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/nn/detr.h"

namespace regard::nn {

struct Detection {
  std::int64_t category = 0;                   // a number of Detr::labels()
  double score = 0;                            // its probability
  double x = 0, y = 0, width = 0, height = 0;  // left, top and size in pixels, cut at the edges
  std::int64_t query = 0;                      // which object query found it
};

// Of each query of image `index` its likeliest class but "no object", where that has at least the
// threshold's probability; the likeliest first. width and height are the image's.
std::vector<Detection> detections(const DetrOutput& output, std::int64_t index, std::int64_t width,
                                  std::int64_t height, double threshold);

}  // namespace regard::nn
