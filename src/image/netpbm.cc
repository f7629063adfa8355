// SPDX-License-Identifier: Apache-2.0
// The Netpbm formats P2, P3 (decimal numbers), P5 and P6 (bytes): a few lines of a header and the
// samples behind it (https://netpbm.sourceforge.net/doc/ppm.html).
#include <algorithm>
#include <stdexcept>

#include "image/decoders.h"

namespace regard::image {
namespace {

bool is_space(std::uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  // A decimal number after white space and comments, at most `most`.
  std::int64_t number(const char* what, std::int64_t most) {
    while (at_ < bytes_.size() && (is_space(bytes_[at_]) || bytes_[at_] == '#')) {
      if (bytes_[at_] == '#') {
        while (at_ < bytes_.size() && bytes_[at_] != '\n' && bytes_[at_] != '\r') ++at_;
      } else {
        ++at_;
      }
    }
    if (at_ == bytes_.size()) early();
    std::int64_t value = 0;
    const std::size_t begin = at_;
    while (at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9' && value <= most) {
      value = 10 * value + (bytes_[at_++] - '0');
    }
    if (at_ == begin || value > most) {
      throw std::runtime_error(std::string("a damaged PPM: its ") + what +
                               (at_ == begin ? " is not a number" : " is more than ") +
                               (at_ == begin ? "" : std::to_string(most)));
    }
    return value;
  }
  // `count` bytes, after the one that ends the header.
  std::span<const std::uint8_t> samples(std::size_t count) {
    ++at_;
    if (at_ > bytes_.size() || bytes_.size() - at_ < count) early();
    return bytes_.subspan(at_, count);
  }

 private:
  [[noreturn]] static void early() {
    throw std::runtime_error("a damaged PPM: the file ends too early");
  }
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 2;
};

}  // namespace

Image decode_netpbm(std::span<const std::uint8_t> bytes) {
  const bool plain = bytes[1] == '2' || bytes[1] == '3';
  const std::size_t channels = bytes[1] == '3' || bytes[1] == '6' ? 3 : 1;
  Reader reader(bytes);
  const std::int64_t width = reader.number("width", kMostPixels);
  const std::int64_t height = reader.number("height", kMostPixels);
  const std::int64_t most = reader.number("greatest sample", 65535);
  if (most < 1) throw std::runtime_error("a damaged PPM: its greatest sample is 0");
  check_size(width, height);
  const std::size_t count = static_cast<std::size_t>(width * height) * channels;
  const std::size_t wide = most > 255 ? 2 : 1;
  std::span<const std::uint8_t> samples;
  if (!plain) samples = reader.samples(count * wide);
  Image image = blank(width, height);
  for (std::size_t i = 0; i < count; ++i) {
    std::int64_t value = 0;
    if (plain) {
      value = reader.number("sample", most);
    } else {
      value = wide == 1 ? samples[i] : 256 * samples[2 * i] + samples[2 * i + 1];
    }
    const auto byte =
        static_cast<std::uint8_t>((2 * std::min(value, most) * 255 + most) / (2 * most));
    if (channels == 3) {
      image.pixels[i] = byte;
    } else {
      std::fill_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i), 3, byte);
    }
  }
  return image;
}

}  // namespace regard::image
