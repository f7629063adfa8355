// SPDX-License-Identifier: Apache-2.0
#include "picture/curve.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "picture/font.h"

namespace regard::picture {
namespace {

constexpr int kWidth = 960, kHeight = 540, kLeft = 80, kRight = 30, kTop = 50, kBottom = 60;
constexpr Colour kFaint{225, 225, 225};

struct Axis {
  double low = 0, high = 1, step = 0.2;
};

// Limits at multiples of 1, 2 or 5 times a power of ten, with 4 to 8 steps between.
Axis axis_of(double low, double high) {
  if (!(low <= high)) return {};
  if (low == high) {
    low -= 0.5;
    high += 0.5;
  }
  const double power = std::pow(10.0, std::floor(std::log10((high - low) / 5)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if ((high - low) / (factor * power) <= 8) {
      step = factor * power;
      break;
    }
  }
  return {std::floor(low / step) * step, std::ceil(high / step) * step, step};
}

std::string label(double value, double step) {
  char text[32];
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  std::snprintf(text, sizeof text, "%.*f", std::min(digits, 9), value == 0 ? 0.0 : value);
  return text;
}

bool drawable(const std::pair<double, double>& point) {
  return std::isfinite(point.first) && std::isfinite(point.second);
}

}  // namespace

std::string curve_png(const std::string& title, const std::string& x_name,
                      const std::vector<Series>& series) {
  double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
  for (const Series& one : series) {
    for (const auto& point : one.points) {
      if (!drawable(point)) continue;
      x_low = std::min(x_low, point.first);
      x_high = std::max(x_high, point.first);
      y_low = std::min(y_low, point.second);
      y_high = std::max(y_high, point.second);
    }
  }
  const Axis x = axis_of(x_low, x_high), y = axis_of(y_low, y_high);
  const auto across = [&](double value) {
    return kLeft + (value - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight);
  };
  const auto down = [&](double value) {
    return kTop + (y.high - value) / (y.high - y.low) * (kHeight - kTop - kBottom);
  };

  Canvas canvas(kWidth, kHeight);
  const Font font(15), large(18);
  large.draw(canvas, kLeft, kTop / 2, title);
  font.draw(canvas, (kLeft + kWidth - kRight - font.width(x_name)) / 2, kHeight - 18, x_name);
  for (double value = x.low; value <= x.high + x.step / 2; value += x.step) {
    const std::string text = label(value, x.step);
    canvas.line(across(value), kTop, across(value), kHeight - kBottom, kFaint, 1);
    font.draw(canvas, static_cast<int>(across(value)) - font.width(text) / 2,
              kHeight - kBottom + 18, text);
  }
  for (double value = y.low; value <= y.high + y.step / 2; value += y.step) {
    const std::string text = label(value, y.step);
    canvas.line(kLeft, down(value), kWidth - kRight, down(value), kFaint, 1);
    font.draw(canvas, kLeft - 10 - font.width(text), static_cast<int>(down(value)), text);
  }
  int legend = kWidth - kRight;
  for (auto one = series.rbegin(); one != series.rend(); ++one) {
    legend -= font.width(one->name) + 60;
    canvas.line(legend, kTop / 2.0, legend + 24, kTop / 2.0, one->colour, 3);
    font.draw(canvas, legend + 32, kTop / 2, one->name);
    const std::pair<double, double>* before = nullptr;
    for (const auto& point : one->points) {
      if (!drawable(point)) continue;
      const auto& from = before != nullptr ? *before : point;
      canvas.line(across(from.first), down(from.second), across(point.first), down(point.second),
                  one->colour, 2);
      before = &point;
    }
  }
  return canvas.png();
}

}  // namespace regard::picture
