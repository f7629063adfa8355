// SPDX-License-Identifier: Apache-2.0
#include "picture/heads.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "files/atomic_file.h"
#include "picture/font.h"
#include "picture/html.h"
#include "picture/script.h"

namespace regard::picture {
namespace {

constexpr int kMap = 340, kGap = 12, kTitle = 18, kText = 14, kMostLabel = 120;
constexpr int kLeastCell = 2, kMostCell = 26, kLeastLabelled = 9;

Colour shade(double weight) {
  const double dark = std::sqrt(std::clamp(weight, 0.0, 1.0));
  const auto level = [dark](int from, int to) {
    return static_cast<std::uint8_t>(std::lround(from + (to - from) * dark));
  };
  return {level(255, 8), level(255, 48), level(255, 107)};
}

// Where a map's parts lie.
struct Layout {
  int cell, rows, columns, left, top, width, height;
  bool labels;
};

int widest(const Font& font, const std::vector<std::string>& texts) {
  int width = 0;
  for (const auto& text : texts) width = std::max(width, font.width(text));
  return std::min(width, kMostLabel);
}

Layout layout_of(const Heads& heads, const Font& small) {
  Layout layout{};
  layout.rows = static_cast<int>(heads.queries.size());
  layout.columns = static_cast<int>(heads.keys.size());
  layout.cell =
      std::clamp(kMap / std::max({layout.rows, layout.columns, 1}), kLeastCell, kMostCell);
  layout.labels = layout.cell >= kLeastLabelled;
  layout.left = kGap + (layout.labels ? widest(small, heads.queries) + kGap / 2 : 0);
  layout.top = kText + kGap + (layout.labels ? widest(small, heads.keys) + kGap / 2 : 0);
  layout.width = layout.left + layout.columns * layout.cell + kGap;
  layout.height = layout.top + layout.rows * layout.cell + kGap;
  return layout;
}

// A label as wide as its room: its beginning, and an ellipsis.
std::string fitted(const Font& font, std::string text, int most) {
  if (font.width(text) <= most) return text;
  while (!text.empty() && font.width(text + "\xe2\x80\xa6") > most) {
    while (!text.empty() && (text.back() & 0xC0) == 0x80) text.pop_back();
    if (!text.empty()) text.pop_back();
  }
  return text + "\xe2\x80\xa6";
}

void draw_map(Canvas& canvas, const Heads& heads, std::size_t head, const Layout& at, int x, int y,
              const Font& text, const Font& small) {
  const int left = x + at.left, top = y + at.top;
  text.draw(canvas, left, y + kText, heads.names[head]);
  for (int row = 0; row < at.rows; ++row) {
    if (at.labels) {
      const auto label = fitted(small, heads.queries[static_cast<std::size_t>(row)], kMostLabel);
      small.draw(canvas, left - kGap / 2 - small.width(label), top + row * at.cell + at.cell / 2,
                 label);
    }
    for (int column = 0; column < at.columns; ++column) {
      const double weight =
          heads.weights[head][static_cast<std::size_t>(row * at.columns + column)];
      canvas.rectangle(left + column * at.cell, top + row * at.cell, at.cell, at.cell,
                       shade(weight));
    }
  }
  for (int column = 0; at.labels && column < at.columns; ++column) {
    small.draw_upwards(canvas, left + column * at.cell + at.cell / 2, top - kGap / 2,
                       fitted(small, heads.keys[static_cast<std::size_t>(column)], kMostLabel));
  }
  const int width = at.columns * at.cell, height = at.rows * at.cell;
  canvas.rectangle(left - 1, top - 1, width + 2, 1, kGrey);
  canvas.rectangle(left - 1, top + height, width + 2, 1, kGrey);
  canvas.rectangle(left - 1, top - 1, 1, height + 2, kGrey);
  canvas.rectangle(left + width, top - 1, 1, height + 2, kGrey);
}

constexpr char kStyle[] = R"(
body{font:15px sans-serif;margin:24px;color:#222}h1{font-size:19px}
#maps{display:flex;flex-wrap:wrap;gap:18px}figure{margin:0}figcaption{margin-bottom:4px}
canvas{border:1px solid #999;image-rendering:pixelated;cursor:crosshair}
#row{margin:16px 0;padding:10px;border:1px solid #ccc;line-height:1.9;min-height:60px}
#row span{padding:2px 1px;border-radius:3px;white-space:pre-wrap}#row b{color:#c22}
#note{height:1.4em;color:#555}
)";

constexpr char kScript[] = R"(
const maps = document.getElementById("maps"), row = document.getElementById("row");
const note = document.getElementById("note"), columns = keys.length, rows = queries.length;
const cell = Math.max(2, Math.min(22, Math.floor(320 / Math.max(columns, rows))));
const shade = w => { const d = Math.sqrt(Math.min(1, Math.max(0, w)));
  return `rgb(${255 - 247 * d},${255 - 207 * d},${255 - 148 * d})`; };
function show(head, i, j) {
  note.textContent = `${names[head]}: ${queries[i]} looks at ${keys[j]}: ` +
    weights[head][i * columns + j].toFixed(4);
  row.replaceChildren();
  const query = document.createElement("b");
  query.textContent = queries[i] + " \u2192 ";
  row.append(query);
  keys.forEach((key, k) => {
    const w = weights[head][i * columns + k], word = document.createElement("span");
    word.textContent = key;
    word.title = w.toFixed(4);
    word.style.background = shade(w);
    if (w > 0.3) word.style.color = "white";
    row.append(word, " ");
  });
}
names.forEach((name, head) => {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  canvas.width = columns * cell; canvas.height = rows * cell;
  const context = canvas.getContext("2d");
  for (let i = 0; i < rows; ++i) for (let j = 0; j < columns; ++j) {
    context.fillStyle = shade(weights[head][i * columns + j]);
    context.fillRect(j * cell, i * cell, cell, cell);
  }
  canvas.onmousemove = event => {
    const i = Math.min(rows - 1, Math.floor(event.offsetY / cell));
    const j = Math.min(columns - 1, Math.floor(event.offsetX / cell));
    if (i >= 0 && j >= 0) show(head, i, j);
  };
  figure.append(caption, canvas);
  maps.append(figure);
});
show(0, rows - 1, 0);
)";

}  // namespace

std::string heads_png(const Heads& heads) {
  const int count = static_cast<int>(heads.names.size());
  const int across = static_cast<int>(std::ceil(std::sqrt(count)));
  const int down = (count + across - 1) / across;
  const Font text(kText), title(kTitle);
  const int cell = std::clamp(
      kMap / static_cast<int>(std::max({heads.queries.size(), heads.keys.size(), std::size_t{1}})),
      kLeastLabelled, kText + 2);
  const Font small(std::max(8, cell - 2));
  const Layout at = layout_of(heads, small);
  const int head_line = 2 * kTitle + kGap;
  Canvas canvas(std::max(across * at.width, title.width(heads.title) + 2 * kGap) + kGap,
                head_line + down * at.height + kGap);
  title.draw(canvas, kGap, kTitle + kGap / 2, heads.title);
  for (int i = 0; i < count; ++i) {
    draw_map(canvas, heads, static_cast<std::size_t>(i), at, (i % across) * at.width,
             head_line + (i / across) * at.height, text, small);
  }
  return canvas.png();
}

std::string heads_html(const Heads& heads) {
  std::string page = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
                     escaped(heads.title) + "</title>\n<style>" + kStyle +
                     "</style></head>\n<body><h1>" + escaped(heads.title) +
                     "</h1>\n<p>Queries down, keys across; the square root of a weight says how "
                     "dark it is. Move the pointer over a map.</p>\n<div id=\"note\"></div>"
                     "<div id=\"row\"></div><div id=\"maps\"></div>\n<script>\nconst queries = " +
                     script_list(heads.queries) + ", keys = " + script_list(heads.keys) +
                     ",\n  names = " + script_list(heads.names) + ",\n  weights = [";
  for (std::size_t i = 0; i < heads.weights.size(); ++i) {
    page += (i > 0 ? ",\n" : "") + script_numbers(heads.weights[i]);
  }
  return page + "];" + kScript + "</script></body></html>\n";
}

void write_heads(const Heads& heads, const std::filesystem::path& file) {
  const std::string ending = file.extension().string();
  if (ending == ".png") {
    files::write_file(file, heads_png(heads));
  } else if (ending == ".html") {
    files::write_file(file, heads_html(heads));
  } else {
    throw std::invalid_argument(file.string() + ": expected a name that ends with .png or .html");
  }
}

}  // namespace regard::picture
