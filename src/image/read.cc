// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>

#include "image/decoders.h"

namespace regard::image {
namespace {

bool begins(std::span<const std::uint8_t> bytes, std::size_t at, std::string_view with) {
  return bytes.size() >= at + with.size() &&
         std::memcmp(bytes.data() + at, with.data(), with.size()) == 0;
}

bool is_netpbm(std::span<const std::uint8_t> bytes) {
  return bytes.size() > 2 && bytes[0] == 'P' && std::strchr("2356", bytes[1]) != nullptr &&
         bytes[1] != 0;
}

// What a file seems to be instead, for the message.
std::string kind_of(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return "it is empty";
  if (begins(bytes, 0, "GIF8")) return "it is a GIF";
  if (begins(bytes, 0, "RIFF") && begins(bytes, 8, "WEBP")) return "it is a WebP";
  if (begins(bytes, 0, "BM")) return "it seems to be a BMP";
  if (begins(bytes, 0, std::string_view("II*\0", 4)) ||
      begins(bytes, 0, std::string_view("MM\0*", 4)))
    return "it is a TIFF";
  if (begins(bytes, 4, "ftypavif")) return "it is an AVIF";
  if (begins(bytes, 4, "ftyphei")) return "it is a HEIC";
  if (begins(bytes, 0, "P1") || begins(bytes, 0, "P4")) return "it is a bitmap (PBM)";
  if (begins(bytes, 0, "%PDF")) return "it is a PDF";
  return "its first bytes are none of theirs";
}

Decoded decode_any(std::span<const std::uint8_t> bytes) {
  if (begins(bytes, 0, "\x89PNG\r\n\x1a\n")) return decode_png(bytes);
  if (begins(bytes, 0, "\xff\xd8\xff")) return decode_jpeg(bytes);
  if (is_netpbm(bytes)) return {decode_netpbm(bytes)};
  throw std::runtime_error("not a PNG, JPEG, PPM or PGM picture: " + kind_of(bytes));
}

}  // namespace

void check_size(std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1) {
    throw std::runtime_error("a picture of " + std::to_string(width) + " x " +
                             std::to_string(height) + " pixels");
  }
  if (width > kMostPixels / height) {
    throw std::runtime_error(std::to_string(width) + " x " + std::to_string(height) +
                             " pixels; at most " + std::to_string(kMostPixels) + " are read");
  }
}

Image blank(std::int64_t width, std::int64_t height) {
  check_size(width, height);
  return {width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height))};
}

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name) {
  try {
    Decoded decoded = decode_any(bytes);
    return upright(std::move(decoded.image), decoded.orientation);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(name + ": " + error.what());
  }
}

Image read_image(const std::filesystem::path& file) {
  if (std::filesystem::is_directory(file)) {
    throw std::runtime_error(file.string() + ": is a folder; expected a picture");
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error(file.string() + ": " + std::strerror(errno));
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw std::runtime_error(file.string() + ": cannot be read");
  return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()},
                      file.string());
}

bool has_image_ending(const std::filesystem::path& file) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::string_view, 5> kEndings{".png", ".jpg", ".jpeg", ".ppm", ".pgm"};
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

}  // namespace regard::image
