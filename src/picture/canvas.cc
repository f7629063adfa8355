// SPDX-License-Identifier: Apache-2.0
#include "picture/canvas.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace regard::picture {

Canvas::Canvas(int width, int height, Colour background) : width_(width), height_(height) {
  if (width < 1 || height < 1) throw std::invalid_argument("a picture needs a width and a height");
  pixels_.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  rectangle(0, 0, width, height, background);
}

Colour Canvas::at(int x, int y) const {
  const std::size_t i = (static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
                         static_cast<std::size_t>(x)) *
                        3;
  return {pixels_.at(i), pixels_.at(i + 1), pixels_.at(i + 2)};
}

void Canvas::blend(int x, int y, Colour colour, double opacity) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  std::uint8_t* pixel = &pixels_[(static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
                                  static_cast<std::size_t>(x)) *
                                 3];
  const auto mix = [opacity](std::uint8_t below, std::uint8_t above) {
    return static_cast<std::uint8_t>(std::lround(below + (above - below) * opacity));
  };
  pixel[0] = mix(pixel[0], colour.red);
  pixel[1] = mix(pixel[1], colour.green);
  pixel[2] = mix(pixel[2], colour.blue);
}

void Canvas::rectangle(int x, int y, int width, int height, Colour colour) {
  for (int row = y; row < y + height; ++row) {
    for (int column = x; column < x + width; ++column) blend(column, row, colour, 1);
  }
}

void Canvas::line(double x0, double y0, double x1, double y1, Colour colour, double thickness) {
  const double reach = thickness / 2 + 1, dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
  const auto low = [reach](double a, double b) { return std::floor(std::min(a, b) - reach); };
  const auto high = [reach](double a, double b) { return std::ceil(std::max(a, b) + reach); };
  const int top = static_cast<int>(std::max(low(y0, y1), 0.0));
  const int bottom = static_cast<int>(std::min(high(y0, y1), height_ - 1.0));
  const int left = static_cast<int>(std::max(low(x0, x1), 0.0));
  const int right = static_cast<int>(std::min(high(x0, x1), width_ - 1.0));
  for (int y = top; y <= bottom; ++y) {
    for (int x = left; x <= right; ++x) {
      const double along =
          length2 > 0 ? std::clamp(((x - x0) * dx + (y - y0) * dy) / length2, 0.0, 1.0) : 0;
      const double distance = std::hypot(x - x0 - along * dx, y - y0 - along * dy);
      const double cover = std::clamp(thickness / 2 + 0.5 - distance, 0.0, 1.0);
      if (cover > 0) blend(x, y, colour, cover);
    }
  }
}

std::string Canvas::png() const {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width_);
  image.height = static_cast<png_uint_32>(height_);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  if (png_image_write_to_memory(&image, file.data(), &bytes, 0, pixels_.data(), 0, nullptr) == 0) {
    throw std::runtime_error(std::string("cannot make a PNG: ") + image.message);
  }
  file.resize(bytes);
  return file;
}

}  // namespace regard::picture
