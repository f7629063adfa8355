// SPDX-License-Identifier: Apache-2.0
#include "cli/load.h"

#include <stdexcept>

#include "regard/nn/checkpoint.h"

namespace regard::cli {

Loaded load(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw std::runtime_error(folder.string() +
                             " is not a folder with a model (regard train makes one)");
  }
  if (std::filesystem::exists(folder / "training.safetensors") &&
      !std::filesystem::exists(folder / "model.safetensors")) {
    throw std::runtime_error(folder.string() +
                             ": its training has not come to a first validation yet");
  }
  if (!std::filesystem::exists(folder / "vocabulary.model")) {
    throw std::runtime_error(folder.string() +
                             " holds no vocabulary.model: it is no translator or summariser that "
                             "regard train has made");
  }
  Loaded loaded{nn::load_model(folder), text::Vocabulary::load(folder / "vocabulary.model")};
  const auto config = loaded.model->config();
  for (const char* side : {"source_vocab", "target_vocab"}) {
    if (config.contains(side) && config[side] != loaded.vocabulary.size()) {
      throw std::runtime_error(folder.string() + ": the model has " + config[side].dump() +
                               " pieces and vocabulary.model " +
                               std::to_string(loaded.vocabulary.size()) +
                               ": they do not belong together");
    }
  }
  return loaded;
}

}  // namespace regard::cli
