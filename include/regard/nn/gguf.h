// SPDX-License-Identifier: Apache-2.0
// Language models in GGUF files (regard/formats/gguf.h), as llama.cpp has them.
#pragma once

#include <filesystem>
#include <memory>

#include "regard/nn/causal_lm.h"

namespace regard::nn {

// A model of the architecture "llama", its weights widened to float32; in evaluation mode.
// std::runtime_error with the file's name for another architecture, for metadata that this library
// has no module for, and for tensors that are missing, too many, or of another shape or type.
std::shared_ptr<CausalLM> load_gguf(const std::filesystem::path& path);

}  // namespace regard::nn
