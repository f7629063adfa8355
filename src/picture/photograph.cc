// SPDX-License-Identifier: Apache-2.0
#include "picture/photograph.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "picture/canvas.h"
#include "picture/font.h"

namespace regard::picture {
namespace {

constexpr int kLeastWidth = 480, kMapWidth = 320, kMostMaps = 100, kAcross = 4, kBorder = 6;
constexpr Colour kColours[] = {{230, 25, 75},  {60, 180, 75}, {0, 130, 200},  {245, 130, 48},
                               {145, 30, 180}, {0, 128, 128}, {240, 50, 230}, {128, 0, 0},
                               {170, 110, 40}, {0, 0, 128}};

Colour colour_of(std::size_t number) { return kColours[number % std::size(kColours)]; }

// How many pixels one of a small image becomes.
int enlarged(std::int64_t width, int least) {
  return static_cast<int>(std::max<std::int64_t>(1, (least + width - 1) / width));
}

template <typename Change>
void draw_image(Canvas& canvas, const image::Image& photograph, int left, int top, int scale,
                const Change& change) {
  for (int y = 0; y < photograph.height * scale; ++y)
    for (int x = 0; x < photograph.width * scale; ++x) {
      const std::uint8_t* pixel = photograph.at(x / scale, y / scale);
      canvas.blend(left + x, top + y, change(Colour{pixel[0], pixel[1], pixel[2]}), 1);
    }
}

void draw_box(Canvas& canvas, const Box& box, int left, int top, int scale, Colour colour) {
  const double x0 = left + box.x * scale, y0 = top + box.y * scale;
  const double x1 = x0 + box.width * scale, y1 = y0 + box.height * scale;
  canvas.line(x0, y0, x1, y0, colour, 3);
  canvas.line(x0, y1, x1, y1, colour, 3);
  canvas.line(x0, y0, x0, y1, colour, 3);
  canvas.line(x1, y0, x1, y1, colour, 3);
}

// Above the box, or inside where there is no room.
void draw_label(Canvas& canvas, const Font& font, const Box& box, int left, int top, int scale,
                Colour colour) {
  const int height = font.line_height() + 4, width = font.width(box.label) + 8;
  int x = left + static_cast<int>(box.x * scale) - 1;
  int y = top + static_cast<int>(box.y * scale) - height;
  x = std::clamp(x, 0, std::max(0, canvas.width() - width));
  if (y < top) y = top + static_cast<int>(box.y * scale) + 1;
  canvas.rectangle(x, y, width, height, colour);
  font.draw(canvas, x + 4, y + height / 2, box.label, kWhite);
}

// 0 black, a third red, two thirds orange, 1 yellow.
Colour heat(double value) {
  const auto part = [&](double begin, double end) {
    return static_cast<std::uint8_t>(
        std::lround(255 * std::clamp((value - begin) / (end - begin), 0.0, 1.0)));
  };
  return {part(0, 0.4), part(0.25, 1), 0};
}

// Between the middles of places, linearly in both directions.
double weight_at(const HeatMap& map, double across, double down) {
  const auto clamped = [](double value, std::int64_t count) {
    return std::clamp(value * static_cast<double>(count) - 0.5, 0.0,
                      static_cast<double>(count - 1));
  };
  const double x = clamped(across, map.columns), y = clamped(down, map.rows);
  const auto x0 = static_cast<std::int64_t>(x), y0 = static_cast<std::int64_t>(y);
  const std::int64_t x1 = std::min(x0 + 1, map.columns - 1), y1 = std::min(y0 + 1, map.rows - 1);
  const auto at = [&](std::int64_t row, std::int64_t column) {
    return map.weights[static_cast<std::size_t>(row * map.columns + column)];
  };
  const double above = at(y0, x0) + (at(y0, x1) - at(y0, x0)) * (x - static_cast<double>(x0));
  const double below = at(y1, x0) + (at(y1, x1) - at(y1, x0)) * (x - static_cast<double>(x0));
  return above + (below - above) * (y - static_cast<double>(y0));
}

void draw_heat(Canvas& canvas, const HeatMap& map, int left, int top, int width, int height) {
  const double most = *std::max_element(map.weights.begin(), map.weights.end());
  if (!(most > 0)) return;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double value = weight_at(map, (x + 0.5) / width, (y + 0.5) / height) / most;
      canvas.blend(left + x, top + y, heat(value), 0.65);
    }
}

Colour grey_of(Colour colour) {
  const auto level = static_cast<std::uint8_t>(
      std::lround(0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue));
  return {level, level, level};
}

}  // namespace

int boxes_scale(const image::Image& photograph) { return enlarged(photograph.width, kLeastWidth); }

std::string boxes_png(const image::Image& photograph, const std::vector<Box>& boxes) {
  const int scale = boxes_scale(photograph);
  Canvas canvas(static_cast<int>(photograph.width) * scale,
                static_cast<int>(photograph.height) * scale);
  draw_image(canvas, photograph, 0, 0, scale, [](Colour colour) { return colour; });
  const Font font(15);
  for (std::size_t i = 0; i < boxes.size(); ++i)
    draw_box(canvas, boxes[i], 0, 0, scale, colour_of(i));
  for (std::size_t i = 0; i < boxes.size(); ++i)
    draw_label(canvas, font, boxes[i], 0, 0, scale, colour_of(i));
  return canvas.png();
}

std::string heat_maps_png(const image::Image& photograph, const std::vector<HeatMap>& maps,
                          const std::vector<Box>& boxes) {
  if (maps.empty() || maps.size() != boxes.size() || maps.size() > kMostMaps)
    throw std::invalid_argument("maps: " + std::to_string(maps.size()) +
                                ", boxes: " + std::to_string(boxes.size()) +
                                "; expected as many of both, 1 to " + std::to_string(kMostMaps));
  const int scale = enlarged(photograph.width, kMapWidth);
  const int width = static_cast<int>(photograph.width) * scale,
            height = static_cast<int>(photograph.height) * scale;
  const int across = std::min<int>(kAcross, static_cast<int>(maps.size()));
  const int down = (static_cast<int>(maps.size()) + across - 1) / across;
  Canvas canvas(across * (width + kBorder) - kBorder, down * (height + kBorder) - kBorder);
  const Font font(15);
  for (std::size_t i = 0; i < maps.size(); ++i) {
    const int left = static_cast<int>(i) % across * (width + kBorder);
    const int top = static_cast<int>(i) / across * (height + kBorder);
    draw_image(canvas, photograph, left, top, scale, grey_of);
    draw_heat(canvas, maps[i], left, top, width, height);
    draw_box(canvas, boxes[i], left, top, scale, colour_of(i));
    draw_label(canvas, font, boxes[i], left, top, scale, colour_of(i));
  }
  return canvas.png();
}

}  // namespace regard::picture
