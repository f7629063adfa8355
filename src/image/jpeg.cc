// SPDX-License-Identifier: Apache-2.0
// libjpeg reports errors through a function that must not return; a longjmp leaves it, so nothing
// that has a destructor is made between setjmp and the calls that may jump.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <stdexcept>

// libjpeg's headers need stdio's names before them.
#include <jerror.h>
#include <jpeglib.h>

#include "image/decoders.h"

namespace regard::image {
namespace {

struct Errors {
  jpeg_error_mgr manager;  // the first member: libjpeg knows the address of it
  std::jmp_buf jump;
  char problem[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  info->err->format_message(info, errors->problem);
  std::longjmp(errors->jump, 1);
}

// What follows the end of a truncated file would be grey: that is an error. Other warnings (bytes
// between markers, as cameras write them) are let pass, as Pillow does.
void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) on_error(info);
}

struct Jpeg {
  Errors errors;
  jpeg_decompress_struct info;

  Jpeg() {
    std::memset(&info, 0, sizeof info);
    info.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = on_error;
    errors.manager.emit_message = on_message;
  }
  ~Jpeg() { jpeg_destroy_decompress(&info); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;
};

bool read_header(Jpeg& file, std::span<const std::uint8_t> bytes) {
  if (setjmp(file.errors.jump) != 0) return false;
  jpeg_create_decompress(&file.info);
  jpeg_mem_src(&file.info, bytes.data(), bytes.size());
  jpeg_save_markers(&file.info, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&file.info, TRUE);
  const bool four =
      file.info.jpeg_color_space == JCS_CMYK || file.info.jpeg_color_space == JCS_YCCK;
  file.info.out_color_space = four ? JCS_CMYK : JCS_RGB;
  jpeg_calc_output_dimensions(&file.info);
  return true;
}

// `rows` has a pointer for each row, of output_components bytes a pixel.
bool read_rows(Jpeg& file, JSAMPROW* rows) {
  if (setjmp(file.errors.jump) != 0) return false;
  jpeg_start_decompress(&file.info);
  while (file.info.output_scanline < file.info.output_height) {
    jpeg_read_scanlines(&file.info, rows + file.info.output_scanline,
                        file.info.output_height - file.info.output_scanline);
  }
  jpeg_finish_decompress(&file.info);
  return true;
}

// Adobe's programs store the ink that is missing, and others do not say which they store: as Pillow
// does, all are taken for Adobe's.
void cmyk_to_rgb(const std::vector<std::uint8_t>& from, std::vector<std::uint8_t>& to) {
  for (std::size_t pixel = 0; pixel < to.size() / 3; ++pixel) {
    const int key = from[4 * pixel + 3];
    for (std::size_t i = 0; i < 3; ++i) {
      to[3 * pixel + i] = static_cast<std::uint8_t>((from[4 * pixel + i] * key + 127) / 255);
    }
  }
}

int orientation_of(const Jpeg& file) {
  static constexpr char kExif[] = "Exif\0";  // and one more zero
  for (const jpeg_marker_struct* marker = file.info.marker_list; marker != nullptr;
       marker = marker->next) {
    if (marker->marker == JPEG_APP0 + 1 && marker->data_length > sizeof kExif &&
        std::memcmp(marker->data, kExif, sizeof kExif) == 0) {
      return exif_orientation({marker->data + sizeof kExif, marker->data_length - sizeof kExif});
    }
  }
  return 1;
}

}  // namespace

Decoded decode_jpeg(std::span<const std::uint8_t> bytes) {
  Jpeg file;
  const auto fail = [&file] {
    throw std::runtime_error(std::string("a damaged JPEG: ") + file.errors.problem);
  };
  if (!read_header(file, bytes)) fail();
  Decoded decoded{blank(file.info.output_width, file.info.output_height)};
  Image& image = decoded.image;
  const auto components = static_cast<std::size_t>(file.info.output_components);
  std::vector<std::uint8_t> inks;
  if (components == 4) inks.resize(image.pixels.size() / 3 * 4);
  std::uint8_t* first = inks.empty() ? image.pixels.data() : inks.data();
  std::vector<JSAMPROW> rows(static_cast<std::size_t>(image.height));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    rows[row] = first + row * components * static_cast<std::size_t>(image.width);
  }
  decoded.orientation = orientation_of(file);  // before libjpeg forgets its markers
  if (!read_rows(file, rows.data())) fail();
  if (!inks.empty()) cmyk_to_rgb(inks, image.pixels);
  return decoded;
}

}  // namespace regard::image
