// SPDX-License-Identifier: Apache-2.0
#include "picture/font.h"

#include <ft2build.h>
#include FT_FREETYPE_H
#include <unicode/utf8.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <stdexcept>

namespace regard::picture {
namespace {

constexpr std::array kPlaces{
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation2/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/freefont/FreeSans.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
};

std::vector<char32_t> characters(const std::string& text) {
  std::vector<char32_t> result;
  const auto length = static_cast<std::int32_t>(text.size());
  for (std::int32_t i = 0; i < length;) {
    UChar32 character = 0;
    U8_NEXT(text.data(), i, length, character);
    result.push_back(character < 0 ? U'\uFFFD' : static_cast<char32_t>(character));
  }
  return result;
}

}  // namespace

struct Font::Impl {
  FT_Library library = nullptr;
  std::vector<FT_Face> faces;

  ~Impl() {
    for (FT_Face face : faces) FT_Done_Face(face);
    if (library != nullptr) FT_Done_FreeType(library);
  }

  FT_Face face_of(char32_t character) const {
    for (FT_Face face : faces) {
      if (FT_Get_Char_Index(face, character) != 0) return face;
    }
    return faces.front();
  }

  // Gives every covered pixel, from the pen's first place on the base line (0, 0), y downwards.
  // Returns how far the pen went.
  int render(const std::string& text,
             const std::function<void(int x, int y, double cover)>& pixel) const {
    int pen = 0;
    for (const char32_t character : characters(text)) {
      FT_Face face = face_of(character);
      if (FT_Load_Char(face, character, FT_LOAD_RENDER) != 0) continue;
      const FT_GlyphSlot glyph = face->glyph;
      const FT_Bitmap& bitmap = glyph->bitmap;
      for (unsigned row = 0; row < bitmap.rows; ++row) {
        for (unsigned column = 0; column < bitmap.width; ++column) {
          const unsigned char cover =
              bitmap.buffer[static_cast<std::ptrdiff_t>(row) * bitmap.pitch + column];
          if (cover != 0) {
            pixel(pen + glyph->bitmap_left + static_cast<int>(column),
                  static_cast<int>(row) - glyph->bitmap_top, cover / 255.0);
          }
        }
      }
      pen += static_cast<int>(glyph->advance.x >> 6);
    }
    return pen;
  }

  int half_x_height() const {
    return static_cast<int>(faces.front()->size->metrics.x_ppem) * 27 / 100;
  }
};

Font::Font(int pixels) : impl_(std::make_unique<Impl>()) {
  if (FT_Init_FreeType(&impl_->library) != 0) throw std::runtime_error("FreeType does not start");
  const auto add = [&](const char* file) {
    FT_Face face = nullptr;
    if (FT_New_Face(impl_->library, file, 0, &face) != 0) return false;
    FT_Set_Pixel_Sizes(face, 0, static_cast<FT_UInt>(pixels));
    impl_->faces.push_back(face);
    return true;
  };
  if (const char* chosen = std::getenv("REGARD_FONT"); chosen != nullptr && *chosen != '\0') {
    if (!add(chosen)) {
      throw std::runtime_error(std::string("REGARD_FONT=") + chosen + " is not a font file");
    }
  }
  for (const char* place : kPlaces) add(place);
  if (impl_->faces.empty()) {
    throw std::runtime_error(
        "no font for pictures: install fonts-dejavu-core, or set REGARD_FONT to a .ttf file "
        "(.html and .csv need none)");
  }
}

Font::~Font() = default;

int Font::line_height() const {
  return static_cast<int>(impl_->faces.front()->size->metrics.height >> 6);
}

int Font::width(const std::string& text) const {
  return impl_->render(text, [](int, int, double) {});
}

void Font::draw(Canvas& canvas, int x, int middle, const std::string& text, Colour colour) const {
  const int base = middle + impl_->half_x_height();
  impl_->render(
      text, [&](int dx, int dy, double cover) { canvas.blend(x + dx, base + dy, colour, cover); });
}

void Font::draw_upwards(Canvas& canvas, int middle, int y, const std::string& text,
                        Colour colour) const {
  const int base = middle + impl_->half_x_height();
  impl_->render(
      text, [&](int dx, int dy, double cover) { canvas.blend(base + dy, y - dx, colour, cover); });
}

}  // namespace regard::picture
