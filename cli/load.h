// SPDX-License-Identifier: Apache-2.0
// A model's folder, as `regard train` makes it.
#pragma once

#include <filesystem>
#include <memory>

#include "regard/nn/sequence_model.h"
#include "regard/text/vocabulary.h"

namespace regard::cli {

struct Loaded {
  std::shared_ptr<nn::SequenceModel> model;
  text::Vocabulary vocabulary;
};

// std::runtime_error says what is missing, or that model and vocabulary do not belong together.
Loaded load(const std::filesystem::path& folder);

}  // namespace regard::cli
