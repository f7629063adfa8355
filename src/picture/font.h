// SPDX-License-Identifier: Apache-2.0
// Text in pictures, by FreeType, with the fonts that the system has.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "picture/canvas.h"

namespace regard::picture {

class Font {
 public:
  // Fonts are taken in this order: the file that the environment variable REGARD_FONT names, then
  // DejaVu, Liberation, Noto and FreeFont where distributions put them. A character comes from the
  // first font that has it. std::runtime_error if there is none at all.
  explicit Font(int pixels);
  ~Font();
  Font(const Font&) = delete;
  Font& operator=(const Font&) = delete;

  int line_height() const;
  int width(const std::string& text) const;

  // UTF-8 text that starts at x; `middle` is the height of the middle of its small letters.
  void draw(Canvas& canvas, int x, int middle, const std::string& text,
            Colour colour = kBlack) const;

  // The same, turned to be read upwards: it starts at the bottom y; `middle` is an x.
  void draw_upwards(Canvas& canvas, int middle, int y, const std::string& text,
                    Colour colour = kBlack) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regard::picture
