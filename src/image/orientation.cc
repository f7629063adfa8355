// SPDX-License-Identifier: Apache-2.0
// EXIF's tag 0x0112 says which way round a camera was held (EXIF 2.32, section 4.6.4).
#include <algorithm>
#include <cstring>

#include "image/decoders.h"

namespace regard::image {

int exif_orientation(std::span<const std::uint8_t> exif) {
  if (exif.size() < 8) return 1;
  const bool little = exif[0] == 'I' && exif[1] == 'I';
  if (!little && !(exif[0] == 'M' && exif[1] == 'M')) return 1;
  const auto number = [&](std::size_t at, std::size_t bytes) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      value |= static_cast<std::size_t>(exif[at + i]) << (8 * (little ? i : bytes - 1 - i));
    }
    return value;
  };
  constexpr std::size_t kEntry = 12, kOrientation = 0x0112, kShort = 3;
  const std::size_t directory = number(4, 4);
  if (directory > exif.size() - 2) return 1;
  const std::size_t entries =
      std::min(number(directory, 2), (exif.size() - directory - 2) / kEntry);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t at = directory + 2 + i * kEntry;
    if (number(at, 2) != kOrientation || number(at + 2, 2) != kShort) continue;
    const std::size_t value = number(at + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  // 2: mirrored, 3: by half a turn, 4: upside down, 5 to 8: the same with rows and columns swapped.
  const bool swapped = orientation >= 5;
  const bool right_to_left =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool bottom_up =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image result = blank(swapped ? image.height : image.width, swapped ? image.width : image.height);
  for (std::int64_t y = 0; y < result.height; ++y) {
    for (std::int64_t x = 0; x < result.width; ++x) {
      std::int64_t from_x = swapped ? y : x, from_y = swapped ? x : y;
      if (right_to_left) from_x = image.width - 1 - from_x;
      if (bottom_up) from_y = image.height - 1 - from_y;
      std::memcpy(result.at(x, y), image.at(from_x, from_y), 3);
    }
  }
  return result;
}

}  // namespace regard::image
