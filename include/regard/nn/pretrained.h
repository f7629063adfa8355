// SPDX-License-Identifier: Apache-2.0
// Models of Hugging Face's transformers as models of this library: the same weights, and logits
// that agree to rounding.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "regard/nn/sequence_model.h"

namespace regard::nn {

// Reads a folder that `save_pretrained` wrote: config.json and model.safetensors. Which model types
// there are, which of our tensors are which of theirs, and how their configs translate, is data:
// one file a type in src/nn/pretrained. In evaluation mode. std::runtime_error with the file's name
// for a type that is not among them, a config that this library has no module for, or tensors that
// are missing, too many or of another shape.
std::shared_ptr<SequenceModel> load_pretrained(const std::filesystem::path& folder);
std::vector<std::string> pretrained_types();

}  // namespace regard::nn
