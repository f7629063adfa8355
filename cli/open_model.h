// SPDX-License-Identifier: Apache-2.0
// Any model that the commands read, and the files beside it.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "regard/nn/model.h"

namespace regard::cli {

// A folder with config.json (transformers' or our own), or a .gguf file. std::runtime_error with
// the file's name and what is wrong.
std::shared_ptr<nn::Model> open_model(const std::filesystem::path& path);

// A file's bytes; nothing where there is no such file.
std::string read_file(const std::filesystem::path& path);
// The object in a file, or an empty one where there is no such file.
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace regard::cli
