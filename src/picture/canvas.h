// SPDX-License-Identifier: Apache-2.0
// A picture in memory: rectangles, lines, blended pixels; written as PNG.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace regard::picture {

struct Colour {
  std::uint8_t red = 0, green = 0, blue = 0;
};

inline constexpr Colour kBlack{0, 0, 0}, kWhite{255, 255, 255}, kGrey{150, 150, 150};

class Canvas {
 public:
  Canvas(int width, int height, Colour background = kWhite);

  int width() const { return width_; }
  int height() const { return height_; }
  Colour at(int x, int y) const;

  // What lies outside of the picture is not drawn.
  void blend(int x, int y, Colour colour, double opacity);
  void rectangle(int x, int y, int width, int height, Colour colour);
  // A line with round ends and smooth edges.
  void line(double x0, double y0, double x1, double y1, Colour colour, double thickness = 1.5);

  std::string png() const;  // the bytes of a PNG file

 private:
  int width_, height_;
  std::vector<std::uint8_t> pixels_;  // rows of red, green, blue
};

}  // namespace regard::picture
