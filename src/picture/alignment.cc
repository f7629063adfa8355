// SPDX-License-Identifier: Apache-2.0
#include "picture/alignment.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "files/atomic_file.h"
#include "picture/font.h"
#include "picture/html.h"

namespace regard::picture {
namespace {

constexpr int kCell = 30, kText = 16, kGap = 10;

Colour grey(double weight) {
  const auto level = static_cast<std::uint8_t>(std::lround(255 * std::clamp(weight, 0.0, 1.0)));
  return {level, level, level};
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + "\"";
}

std::string number(double value, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

int widest(const Font& font, const std::vector<std::string>& words) {
  int width = 0;
  for (const auto& word : words) width = std::max(width, font.width(word));
  return width;
}

}  // namespace

std::string alignment_png(const Alignment& alignment) {
  const Font font(kText);
  const int left = widest(font, alignment.target) + 2 * kGap;
  const int top = widest(font, alignment.source) + 2 * kGap;
  const auto columns = static_cast<int>(alignment.source.size());
  const auto rows = static_cast<int>(alignment.target.size());
  Canvas canvas(left + columns * kCell + kGap, top + rows * kCell + kGap);
  for (int column = 0; column < columns; ++column) {
    font.draw_upwards(canvas, left + column * kCell + kCell / 2, top - kGap,
                      alignment.source[static_cast<std::size_t>(column)]);
  }
  for (int row = 0; row < rows; ++row) {
    const std::string& word = alignment.target[static_cast<std::size_t>(row)];
    const int y = top + row * kCell;
    font.draw(canvas, left - kGap - font.width(word), y + kCell / 2, word);
    for (int column = 0; column < columns; ++column) {
      const double weight =
          alignment.weight(static_cast<std::size_t>(row), static_cast<std::size_t>(column));
      canvas.rectangle(left + column * kCell, y, kCell, kCell, grey(weight));
    }
  }
  const auto frame = [&](int x, int y, int width, int height) {
    canvas.rectangle(x, y, width, height, kGrey);
  };
  frame(left - 1, top - 1, columns * kCell + 2, 1);
  frame(left - 1, top + rows * kCell, columns * kCell + 2, 1);
  frame(left - 1, top - 1, 1, rows * kCell + 2);
  frame(left + columns * kCell, top - 1, 1, rows * kCell + 2);
  return canvas.png();
}

std::string alignment_html(const Alignment& alignment, const std::string& title) {
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + escaped(title) +
      "</title>\n<style>body{font:16px sans-serif;margin:2em}table{border-collapse:collapse}"
      "td{width:30px;height:30px;padding:0}td:hover{outline:2px solid #e33}"
      "th{font-weight:normal;white-space:nowrap;padding:4px 8px}tbody th{text-align:right}"
      "thead th{writing-mode:vertical-rl;transform:rotate(180deg);padding:8px 4px}"
      "table{border:1px solid #999}</style></head>\n<body><h1 style=\"font-size:18px\">" +
      escaped(title) + "</h1>\n<table><thead><tr><th></th>";
  for (const auto& word : alignment.source) page += "<th>" + escaped(word) + "</th>";
  page += "</tr></thead><tbody>\n";
  for (std::size_t row = 0; row < alignment.target.size(); ++row) {
    page += "<tr><th>" + escaped(alignment.target[row]) + "</th>";
    for (std::size_t column = 0; column < alignment.source.size(); ++column) {
      const double weight = alignment.weight(row, column);
      const std::string level = std::to_string(grey(weight).red);
      page += "<td style=\"background:rgb(" + level + "," + level + "," + level + ")\" title=\"" +
              escaped(alignment.target[row]) + " &larr; " + escaped(alignment.source[column]) +
              ": " + number(weight, "%.3f") + "\"></td>";
    }
    page += "</tr>\n";
  }
  return page + "</tbody></table></body></html>\n";
}

std::string alignment_csv(const Alignment& alignment) {
  std::string text = "\"\"";
  for (const auto& word : alignment.source) text += "," + quoted(word);
  text += "\n";
  for (std::size_t row = 0; row < alignment.target.size(); ++row) {
    text += quoted(alignment.target[row]);
    for (std::size_t column = 0; column < alignment.source.size(); ++column) {
      text += "," + number(alignment.weight(row, column), "%.7g");
    }
    text += "\n";
  }
  return text;
}

void write_alignment(const Alignment& alignment, const std::filesystem::path& file,
                     const std::string& title) {
  const std::string ending = file.extension().string();
  if (ending == ".png") {
    files::write_file(file, alignment_png(alignment));
  } else if (ending == ".html") {
    files::write_file(file, alignment_html(alignment, title));
  } else if (ending == ".csv") {
    files::write_file(file, alignment_csv(alignment));
  } else {
    throw std::invalid_argument(file.string() +
                                ": expected a name that ends with .png, .html or .csv");
  }
}

}  // namespace regard::picture
