// SPDX-License-Identifier: Apache-2.0
// The kinds of files that read_image() knows. Each decoder takes a whole file and throws
// std::runtime_error without the file's name.
#pragma once

#include <span>

#include "regard/image/image.h"

namespace regard::image {

// A picture as it lies in its file, and how it is to be turned (1 to 8, as EXIF's tag 0x0112; 1:
// not at all).
struct Decoded {
  Image image;
  int orientation = 1;
};

Decoded decode_png(std::span<const std::uint8_t> bytes);
Decoded decode_jpeg(std::span<const std::uint8_t> bytes);
Image decode_netpbm(std::span<const std::uint8_t> bytes);  // P2, P3, P5, P6

// std::runtime_error for a size that no picture has, or that is refused.
void check_size(std::int64_t width, std::int64_t height);
// An image of that size, which is checked.
Image blank(std::int64_t width, std::int64_t height);

// The orientation of EXIF data (a TIFF header and its directories); 1 where it says none, or is
// damaged.
int exif_orientation(std::span<const std::uint8_t> exif);
Image upright(Image image, int orientation);

}  // namespace regard::image
