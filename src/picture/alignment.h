// SPDX-License-Identifier: Apache-2.0
// What a model looked at, as the figure of Bahdanau et al. (2014): target words down, source words
// across, the weights in greys.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace regard::picture {

struct Alignment {
  std::vector<std::string> source, target;
  std::vector<double> weights;  // (target, source): each row adds up to 1

  double weight(std::size_t row, std::size_t column) const {
    return weights[row * source.size() + column];
  }
};

// The bytes of a PNG file: weight 0 is black, 1 is white, as in the paper.
std::string alignment_png(const Alignment& alignment);

// A page that stands alone, with the weights under the pointer.
std::string alignment_html(const Alignment& alignment, const std::string& title);

// A header of source words, then a line for each target word.
std::string alignment_csv(const Alignment& alignment);

// Writes the kind that the file's ending asks for: .png, .html or .csv. std::invalid_argument for
// any other.
void write_alignment(const Alignment& alignment, const std::filesystem::path& file,
                     const std::string& title);

}  // namespace regard::picture
