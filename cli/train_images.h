// SPDX-License-Identifier: Apache-2.0
// `regard train classify --images`: a classifier of pictures, from nothing or from a checkpoint.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "cli/train_flags.h"

namespace regard::cli {

struct ImageFlags {
  std::filesystem::path images, valid;
  double valid_share = 0;
  std::int64_t size = 0, patch = 0, dim = 0, layers = 0, heads = 4;  // of a new model; 0: as it is
  double dropout = 0.1;
  std::int64_t batch_images = 64;
  double label_smoothing = 0;
  double shift = 0, scale = 0, rotate = 0;
  bool flip = false;
};

void add_image_flags(CLI::App& command, ImageFlags& flags);
// `model` is vit, crossvit, cat, or a checkpoint's folder; `command` has been parsed.
void train_images(const ImageFlags& flags, const std::string& model, TrainFlags train,
                  const CLI::App& command);

}  // namespace regard::cli
