// SPDX-License-Identifier: Apache-2.0
// libpng reports errors by longjmp: nothing that has a destructor is made between setjmp and the
// calls that may jump.
#include <png.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "image/decoders.h"

namespace regard::image {
namespace {

struct Reader {
  std::span<const std::uint8_t> bytes;
  std::size_t at = 0;
  char problem[256] = {};
};

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::snprintf(reader->problem, sizeof reader->problem, "%s", text);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}  // what libpng goes on from, we do

void read_bytes(png_structp png, png_bytep out, std::size_t count) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader->bytes.size() - reader->at) png_error(png, "the file ends too early");
  std::memcpy(out, reader->bytes.data() + reader->at, count);
  reader->at += count;
}

struct Png {
  png_structp png;
  png_infop info = nullptr, end = nullptr;

  explicit Png(Reader* reader)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, on_error, on_warning)) {
    if (png != nullptr) {
      info = png_create_info_struct(png);
      end = png_create_info_struct(png);
    }
    if (info == nullptr || end == nullptr) {
      png_destroy_read_struct(&png, &info, &end);
      throw std::bad_alloc();
    }
    png_set_read_fn(png, reader, read_bytes);
  }
  ~Png() { png_destroy_read_struct(&png, &info, &end); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;
};

bool read_header(const Png& file) {
  if (setjmp(png_jmpbuf(file.png)) != 0) return false;
  png_read_info(file.png, file.info);
  // Eight bits of red, green and blue, whatever is stored.
  png_set_expand(file.png);
  png_set_strip_16(file.png);
  png_set_gray_to_rgb(file.png);
  png_set_strip_alpha(file.png);
  png_set_interlace_handling(file.png);
  png_read_update_info(file.png, file.info);
  return true;
}

bool read_rows(const Png& file, png_bytepp rows) {
  if (setjmp(png_jmpbuf(file.png)) != 0) return false;
  png_read_image(file.png, rows);
  png_read_end(file.png, file.end);
  return true;
}

int orientation_in(const Png& file, png_infop info) {
  png_uint_32 count = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(file.png, info, &count, &exif) == 0) return 1;
  return exif_orientation({exif, count});
}

}  // namespace

Decoded decode_png(std::span<const std::uint8_t> bytes) {
  Reader reader{bytes};
  const Png file(&reader);
  const auto fail = [&reader] {
    throw std::runtime_error(std::string("a damaged PNG: ") + reader.problem);
  };
  if (!read_header(file)) fail();
  Decoded decoded{
      blank(png_get_image_width(file.png, file.info), png_get_image_height(file.png, file.info))};
  Image& image = decoded.image;
  if (png_get_rowbytes(file.png, file.info) != 3 * static_cast<std::size_t>(image.width)) {
    throw std::runtime_error("a PNG whose pixels are not understood");
  }
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    rows[row] = image.at(0, static_cast<std::int64_t>(row));
  }
  if (!read_rows(file, rows.data())) fail();
  decoded.orientation = std::max(orientation_in(file, file.info), orientation_in(file, file.end));
  return decoded;
}

}  // namespace regard::image
