// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace regard::nn {

[[noreturn]] inline void fail_file(const std::filesystem::path& path, const std::string& what) {
  throw std::runtime_error(path.string() + ": " + what);
}

// The object that a file holds; std::runtime_error where there is none.
inline nlohmann::json read_json_object(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) fail_file(path, "cannot be read");
  nlohmann::json parsed = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) fail_file(path, "not a JSON object");
  return parsed;
}

// The value at "a/b/c", or nothing where there is none or null.
inline const nlohmann::json* value_at(const nlohmann::json& object, const std::string& path) {
  const nlohmann::json* at = &object;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const auto found = at->find(path.substr(begin, end - begin));
    if (found == at->end() || found->is_null()) return nullptr;
    at = &*found;
    begin = end + 1;
  }
  return at;
}

}  // namespace regard::nn
