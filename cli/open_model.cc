// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <fstream>
#include <sstream>

#include "regard/nn/gguf.h"
#include "regard/nn/pretrained.h"

namespace regard::cli {

namespace fs = std::filesystem;

std::shared_ptr<nn::Model> open_model(const fs::path& path) {
  if (!fs::exists(path)) throw std::runtime_error(path.string() + ": there is no such file");
  if (!fs::is_directory(path)) return nn::load_gguf(path);
  if (!fs::exists(path / "config.json"))
    throw std::runtime_error(path.string() +
                             " holds no config.json: expected a model's folder or a .gguf file");
  return nn::open_model(path);
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json read_json(const fs::path& path) {
  if (!fs::exists(path)) return nlohmann::json::object();
  nlohmann::json parsed =
      nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) throw std::runtime_error(path.string() + ": not a JSON object");
  return parsed;
}

}  // namespace regard::cli
