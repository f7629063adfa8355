// SPDX-License-Identifier: Apache-2.0
// What the heads of a layer look at: a map for each, queries down, keys across.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace regard::picture {

struct Heads {
  std::string title;
  std::vector<std::string> queries, keys;    // a label for each row and column
  std::vector<std::string> names;            // one for each map
  std::vector<std::vector<double>> weights;  // of each map (queries, keys)
};

// The bytes of a PNG file: white is 0, and the square root of a weight says how dark it is.
std::string heads_png(const Heads& heads);

// A page that stands alone: the maps, and under the pointer the weight and the whole row as a text
// whose words are as dark as they count.
std::string heads_html(const Heads& heads);

// Writes the kind that the file's ending asks for: .png or .html. std::invalid_argument for any
// other.
void write_heads(const Heads& heads, const std::filesystem::path& file);

}  // namespace regard::picture
