// SPDX-License-Identifier: Apache-2.0
// `regard look`: where a model looked, in a text or in an image.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace regard::cli {

struct LookOptions {
  std::filesystem::path model;
  std::vector<std::filesystem::path> out;  // .png and .html
  std::string text;
  std::int64_t layer = 0;           // of a text, from 1; 0: the last
  std::vector<std::int64_t> heads;  // of a text, from 1; none: all
  std::filesystem::path image;
  double threshold = 0.7;  // of an image's objects
  bool json = false;
  int threads = 0;
};

// A layer's heads, token by token.
void look_at_text(const LookOptions& options);

// A classifier's attention rollout over the image, or for each object that DETR finds its query's
// weights over it.
void look_at_image(const LookOptions& options);

}  // namespace regard::cli
