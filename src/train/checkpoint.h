// SPDX-License-Identifier: Apache-2.0
// Where a training stands, as one file that is replaced at once: weights, the optimiser's state,
// the random number generator, the place in the data, and what all this belongs to.
#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <string>

#include "regard/train/task.h"

namespace regard::train {

struct Progress {
  std::int64_t step = 0, tokens = 0;
  Place place;
  double seconds = 0, processor_seconds = 0;  // by the clock; of all threads together
  double best_cost = std::numeric_limits<double>::infinity();
  std::int64_t best_step = 0;
  std::int64_t validated_step = -1;  // the step of the last validation
  std::int64_t without_gain = 0;     // validations since the best one
};

// What a checkpoint belongs to: the model's config, options and data (JSON), compared by text.
using Identity = nlohmann::json;

void save_checkpoint(const std::filesystem::path& file, const torch::nn::Module& model,
                     torch::optim::Optimizer& optimizer, const Progress& progress,
                     const Identity& identity);

// Puts everything back in its place, the default generator's state included. std::runtime_error
// with the file's name, and what differs, if it belongs to something else.
Progress load_checkpoint(const std::filesystem::path& file, torch::nn::Module& model,
                         torch::optim::Optimizer& optimizer, const Identity& identity);

}  // namespace regard::train
