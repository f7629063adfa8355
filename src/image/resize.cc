// SPDX-License-Identifier: Apache-2.0
#include "regard/image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace regard::image {
namespace {

constexpr int kBits = 22;  // of a weight behind the point: Pillow's

double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * kA : 0;
}

double sinc(double x) {
  return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
}

double lanczos(double x) { return std::abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0; }

struct Filter {
  const char* name;
  double (*weight)(double);
  double support;
};

constexpr Filter kFilters[] = {
    {"bilinear", triangle, 1}, {"bicubic", cubic, 2}, {"lanczos", lanczos, 3}};

// Which pixels of a line make one pixel of the result, and with which weights.
struct Sources {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;
};

std::vector<Sources> sources_of(std::int64_t from, std::int64_t to, const Filter& filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double wide = std::max(scale, 1.0), support = filter.support * wide, narrow = 1 / wide;
  std::vector<Sources> all(static_cast<std::size_t>(to));
  for (std::int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(centre - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(centre + support + 0.5), from);
    std::vector<double> exact;
    double sum = 0;
    for (std::int64_t at = first; at < end; ++at) {
      exact.push_back(filter.weight((static_cast<double>(at) - centre + 0.5) * narrow));
      sum += exact.back();
    }
    Sources& mine = all[static_cast<std::size_t>(i)];
    mine.first = first;
    for (double weight : exact) {
      if (sum != 0) weight /= sum;
      mine.weights.push_back(
          static_cast<std::int32_t>(weight * (1 << kBits) + (weight < 0 ? -0.5 : 0.5)));
    }
  }
  return all;
}

std::uint8_t byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

Image blank(std::int64_t width, std::int64_t height) {
  return {width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height))};
}

Image across(const Image& image, std::int64_t width, const Filter& filter) {
  const auto sources = sources_of(image.width, width, filter);
  Image result = blank(width, image.height);
  for (std::int64_t y = 0; y < image.height; ++y) {
    std::uint8_t* out = result.at(0, y);
    for (const Sources& one : sources) {
      std::int32_t sum[3] = {1 << (kBits - 1), 1 << (kBits - 1), 1 << (kBits - 1)};
      const std::uint8_t* in = image.at(one.first, y);
      for (const std::int32_t weight : one.weights) {
        for (int i = 0; i < 3; ++i) sum[i] += weight * *in++;
      }
      for (const std::int32_t part : sum) *out++ = byte(part);
    }
  }
  return result;
}

Image down(const Image& image, std::int64_t height, const Filter& filter) {
  const auto sources = sources_of(image.height, height, filter);
  Image result = blank(image.width, height);
  const auto length = static_cast<std::size_t>(3 * image.width);
  std::vector<std::int32_t> sums(length);
  for (std::int64_t y = 0; y < height; ++y) {
    const Sources& one = sources[static_cast<std::size_t>(y)];
    std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
    for (std::size_t row = 0; row < one.weights.size(); ++row) {
      const std::uint8_t* in = image.at(0, one.first + static_cast<std::int64_t>(row));
      const std::int32_t weight = one.weights[row];
      for (std::size_t i = 0; i < length; ++i) sums[i] += weight * in[i];
    }
    std::transform(sums.begin(), sums.end(), result.at(0, y), byte);
  }
  return result;
}

// Each pass rounds to bytes, so the order shows. Pillow (13) begins with the columns where that
// takes away more than twice as many rows as columns would go; older versions never do.
bool down_first(const Image& image, std::int64_t width, std::int64_t height) {
  return height < image.height && image.height - height > 2 * (image.width - width);
}

// Pillow adds up the steps, so that a place halfway between two pixels falls as its sum is rounded.
std::vector<std::int64_t> nearest(std::int64_t from, std::int64_t to) {
  const double step = static_cast<double>(from) / static_cast<double>(to);
  double at = step * 0.5;
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < to; ++i, at += step) {
    places.push_back(std::min(static_cast<std::int64_t>(at), from - 1));
  }
  return places;
}

Image nearest(const Image& image, std::int64_t width, std::int64_t height) {
  const auto columns = nearest(image.width, width), rows = nearest(image.height, height);
  Image result = blank(width, height);
  std::uint8_t* out = result.pixels.data();
  for (const std::int64_t y : rows) {
    for (const std::int64_t x : columns) out = std::copy_n(image.at(x, y), 3, out);
  }
  return result;
}

}  // namespace

Image resized(const Image& image, std::int64_t width, std::int64_t height,
              const std::string& filter) {
  if (width < 1 || height < 1 || width > kMostPixels / std::max(height, image.height)) {
    throw std::invalid_argument("size: " + std::to_string(width) + " x " + std::to_string(height) +
                                "; expected 1 x 1 to " + std::to_string(kMostPixels) + " pixels");
  }
  if (width == image.width && height == image.height) return image;
  if (filter == "nearest") return nearest(image, width, height);
  for (const Filter& one : kFilters) {
    if (filter != one.name) continue;
    if (width == image.width) return down(image, height, one);
    if (height == image.height) return across(image, width, one);
    return down_first(image, width, height) ? across(down(image, height, one), width, one)
                                            : down(across(image, width, one), height, one);
  }
  throw std::invalid_argument("resample: \"" + filter +
                              "\"; expected nearest, bilinear, bicubic or lanczos");
}

}  // namespace regard::image
