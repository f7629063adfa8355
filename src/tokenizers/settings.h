// SPDX-License-Identifier: Apache-2.0
// Access to a tokenizer.json's settings, with errors that name the place.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace regard::text {

using Json = nlohmann::json;

// Something that a tokenizer.json asks for and that is not served.
[[noreturn]] inline void not_served(const std::string& part, const std::string& kind) {
  throw std::runtime_error(part + " of type '" + kind + "' is not served");
}

inline std::string type_of(const Json& settings, const std::string& part) {
  const auto type = settings.find("type");
  if (type == settings.end() || !type->is_string()) {
    throw std::runtime_error(part + " has no 'type'");
  }
  return type->get<std::string>();
}

// The setting `name`, or `fallback` where it is absent or null.
template <typename T>
T setting(const Json& settings, const char* name, T fallback) {
  const auto found = settings.find(name);
  return found == settings.end() || found->is_null() ? fallback : found->get<T>();
}

}  // namespace regard::text
