// SPDX-License-Identifier: Apache-2.0
// Pictures from files: PNG (libpng), JPEG (libjpeg), PPM and PGM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace regard::image {

// Rows from the top, three bytes a pixel: red, green, blue.
struct Image {
  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> pixels;

  const std::uint8_t* at(std::int64_t x, std::int64_t y) const {
    return pixels.data() + 3 * (y * width + x);
  }
  std::uint8_t* at(std::int64_t x, std::int64_t y) { return pixels.data() + 3 * (y * width + x); }
};

// A picture of more pixels is refused, whatever its file's size: a few kilobytes can ask for all
// memory.
inline constexpr std::int64_t kMostPixels = 100'000'000;

// Greys become three equal bytes, samples of 16 bits their high byte, palettes their colours; alpha
// is dropped, without blending; CMYK is turned into RGB as Pillow does it. The picture is turned
// upright where its EXIF data ask for it. This is what transformers' pipelines see, which call
// Pillow's exif_transpose() and convert("RGB").
//
// std::runtime_error begins with the file's name: not there, of another kind (which one is said
// where it is known), truncated or damaged, more than kMostPixels.
Image read_image(const std::filesystem::path& file);
// The same of a file's bytes; `name` stands for its name in errors.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name);

// Whether a name ends as a picture's that read_image() knows: .png, .jpg, .jpeg, .ppm, .pgm, in any
// case.
bool has_image_ending(const std::filesystem::path& file);

}  // namespace regard::image
