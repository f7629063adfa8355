// SPDX-License-Identifier: Apache-2.0
#include "picture/heat.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "picture/canvas.h"

namespace regard::picture {
namespace {

constexpr std::int64_t kLeast = 320, kGap = 16;  // pixels: the shorter side, and between pictures

std::uint8_t mixed(double below, double above, double share) {
  return static_cast<std::uint8_t>(std::lround(below + (above - below) * share));
}

// From violet over red to yellow, as the share rises from 0 to 1.
Colour heat_colour(double share) {
  constexpr Colour kStops[] = {{70, 20, 110}, {200, 50, 70}, {250, 160, 40}, {255, 240, 90}};
  const double at = std::clamp(share, 0.0, 1.0) * 3;
  const int first = std::min(static_cast<int>(at), 2);
  const Colour &a = kStops[first], &b = kStops[first + 1];
  const double part = at - first;
  return {mixed(a.red, b.red, part), mixed(a.green, b.green, part), mixed(a.blue, b.blue, part)};
}

}  // namespace

void check_map(const image::Image& image, const HeatMap& map) {
  if (image.width < 1 || image.height < 1) throw std::invalid_argument("image: has no pixels");
  const auto cells = static_cast<std::size_t>(map.rows * map.columns);
  if (map.rows < 1 || map.columns < 1 || map.weights.size() != cells ||
      !std::all_of(map.weights.begin(), map.weights.end(),
                   [](double w) { return std::isfinite(w) && w >= 0; })) {
    throw std::invalid_argument("map: expected rows x columns weights, finite, from 0");
  }
}

std::string heat_png(const image::Image& image, const HeatMap& map) {
  check_map(image, map);
  const std::int64_t shorter = std::min(image.width, image.height);
  const std::int64_t times = std::max<std::int64_t>((kLeast + shorter - 1) / shorter, 1);
  const std::int64_t width = image.width * times, height = image.height * times;
  Canvas canvas(static_cast<int>(2 * width + kGap), static_cast<int>(height));
  const double most = std::max(*std::max_element(map.weights.begin(), map.weights.end()), 1e-300);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::uint8_t* pixel = image.at(x / times, y / times);
      const Colour own{pixel[0], pixel[1], pixel[2]};
      canvas.blend(static_cast<int>(x), static_cast<int>(y), own, 1);
      const double grey = 0.299 * own.red + 0.587 * own.green + 0.114 * own.blue;
      const auto dark = static_cast<std::uint8_t>(std::lround(0.45 * grey));
      const std::int64_t cell = (y * map.rows / height) * map.columns + x * map.columns / width;
      const double share = map.weights[static_cast<std::size_t>(cell)] / most;
      const auto right = static_cast<int>(x + width + kGap);
      canvas.blend(right, static_cast<int>(y), {dark, dark, dark}, 1);
      canvas.blend(right, static_cast<int>(y), heat_colour(share), 0.75 * std::sqrt(share));
    }
  }
  return canvas.png();
}

}  // namespace regard::picture
