// SPDX-License-Identifier: Apache-2.0
#include "picture/image_page.h"

#include <stdexcept>

#include "picture/html.h"
#include "picture/script.h"

namespace regard::picture {
namespace {

constexpr char kStyle[] = R"(
body{font:15px sans-serif;margin:24px;color:#222}h1{font-size:19px}
#buttons button{margin:0 8px 8px 0;padding:4px 10px;font-size:14px}
#buttons button.chosen{background:#224488;color:white}
#note{height:1.4em;margin:4px 0 8px;color:#555}#frame{position:relative;display:inline-block}
#frame img{display:block;image-rendering:pixelated;filter:grayscale(1) brightness(0.6)}
#frame.plain img{filter:none}#frame.plain canvas{visibility:hidden}
canvas{position:absolute;left:0;top:0;cursor:crosshair}
)";

// Colours as heat_png()'s: the square root of a weight's share of the greatest says how opaque.
constexpr char kScript[] = R"(
const frame = document.getElementById("frame"), photo = document.getElementById("photo");
const buttons = document.getElementById("buttons"), note = document.getElementById("note");
const canvas = document.getElementById("over"), context = canvas.getContext("2d");
const stops = [[70, 20, 110], [200, 50, 70], [250, 160, 40], [255, 240, 90]];
let chosen = 0;
function colour(share) {
  const at = Math.min(1, Math.max(0, share)) * 3, first = Math.min(2, Math.floor(at));
  const mixed = stops[first].map((v, k) => v + (stops[first + 1][k] - v) * (at - first));
  return `rgba(${mixed.map(Math.round).join(",")},${0.75 * Math.sqrt(share)})`;
}
function draw() {
  const map = maps[chosen], most = Math.max(...map.weights, 1e-300);
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < map.rows; ++i) for (let j = 0; j < map.columns; ++j) {
    const x = Math.round(j * canvas.width / map.columns);
    const y = Math.round(i * canvas.height / map.rows);
    context.fillStyle = colour(map.weights[i * map.columns + j] / most);
    context.fillRect(x, y, Math.round((j + 1) * canvas.width / map.columns) - x,
                     Math.round((i + 1) * canvas.height / map.rows) - y);
  }
  if (map.box) {
    context.strokeStyle = "#3cf";
    context.lineWidth = 3;
    context.strokeRect(...map.box.map(v => v * scale));
  }
  [...buttons.children].forEach((b, i) => b.classList.toggle("chosen", i === chosen));
}
maps.forEach((map, i) => {
  const button = document.createElement("button");
  button.textContent = map.name;
  button.onclick = () => { chosen = i; draw(); };
  buttons.append(button);
});
canvas.onmousemove = event => {
  const map = maps[chosen];
  const i = Math.min(map.rows - 1, Math.floor(event.offsetY * map.rows / canvas.height));
  const j = Math.min(map.columns - 1, Math.floor(event.offsetX * map.columns / canvas.width));
  if (i >= 0 && j >= 0) note.textContent = `${map.name}: row ${i + 1}, column ${j + 1}: ` +
    map.weights[i * map.columns + j].toPrecision(3);
};
frame.onmousedown = () => frame.classList.add("plain");
document.onmouseup = () => frame.classList.remove("plain");
photo.onload = () => { canvas.width = photo.width; canvas.height = photo.height; draw(); };
if (photo.complete) photo.onload();
)";

std::string script_of(const ImageMap& one) {
  std::string text = "{name: " + script_text(one.name) + ", rows: " + std::to_string(one.map.rows) +
                     ", columns: " + std::to_string(one.map.columns);
  if (one.box) {
    const Box& box = *one.box;
    text += ", box: " + script_numbers({box.x, box.y, box.width, box.height});
  }
  return text + ", weights: " + script_numbers(one.map.weights) + "}";
}

}  // namespace

std::string image_page(const std::string& title, const image::Image& photograph,
                       const std::vector<ImageMap>& maps) {
  if (maps.empty()) throw std::invalid_argument("maps: none; expected at least one");
  std::string list;
  for (const ImageMap& one : maps) {
    check_map(photograph, one.map);
    list += (list.empty() ? "" : ",\n") + script_of(one);
  }
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
         escaped(title) + "</title>\n<style>" + kStyle + "</style></head>\n<body><h1>" +
         escaped(title) +
         "</h1>\n<p>The brighter, the more the model looked there. Move the pointer over a cell "
         "for "
         "its weight; hold the button down to see the image alone.</p>\n<div id=\"buttons\"></div>"
         "<div id=\"note\"></div>\n<div id=\"frame\"><img id=\"photo\" draggable=\"false\" src=\"" +
         png_address(boxes_png(photograph, {})) +
         "\"><canvas id=\"over\"></canvas></div>\n<script>\nconst scale = " +
         std::to_string(boxes_scale(photograph)) + ";\nconst maps = [" + list + "];" + kScript +
         "</script></body></html>\n";
}

}  // namespace regard::picture
