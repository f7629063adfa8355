// SPDX-License-Identifier: Apache-2.0
// A model as a folder: config.json, which build_model() reads, and model.safetensors, its
// parameters and buffers by name, readable by Python's `safetensors`.
#pragma once

#include <filesystem>
#include <memory>

#include "regard/nn/sequence_model.h"

namespace regard::nn {

// The version that config.json carries as "format"; another one is refused.
inline constexpr int kModelFormat = 1;

// Makes the folder if there is none. Each of the two files is replaced at once or not at all, the
// weights first. The weights carry the config as well, so that the files of two models are never
// taken for one, and the next save of the same model leaves the folder whole at every moment.
void save_model(const std::filesystem::path& folder, const Model& model);

// The model, in evaluation mode. std::runtime_error with the file's name: missing, not JSON, of
// another format version or kind, tensors that are missing, too many, or of another shape or dtype.
std::shared_ptr<Model> load_any_model(const std::filesystem::path& folder);
// The same of a model of sequences; std::runtime_error for another kind.
std::shared_ptr<SequenceModel> load_model(const std::filesystem::path& folder);

// Puts tensors into a module's parameters and buffers of the same names. All are checked before any
// is written; errors (std::runtime_error) begin with `what`.
void load_tensors(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& tensors,
                  const std::string& what);
// Parameters and buffers of a module by name, sharing its memory.
std::map<std::string, torch::Tensor> named_tensors(const torch::nn::Module& module);

}  // namespace regard::nn
