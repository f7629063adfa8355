// SPDX-License-Identifier: Apache-2.0
// Reads a model's config field by field: what is missing keeps its default, and what is unknown, of
// a wrong type or out of range is an error by name.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace regard::nn {

class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& config) : config_(config) { read_.insert("kind"); }

  void read(const char* name, std::int64_t& value, std::int64_t least, std::int64_t most) {
    const nlohmann::json* given = find(name);
    if (given == nullptr) return check(name, value, least, most);
    if (!given->is_number_integer() ||
        (given->is_number_unsigned() && given->get<std::uint64_t>() > INT64_MAX))
      fail(name, *given, "a whole number");
    value = given->get<std::int64_t>();
    check(name, value, least, most);
  }
  void read(const char* name, double& value, double least, double below) {
    const nlohmann::json* given = find(name);
    if (given == nullptr) return;
    if (!given->is_number() || !(given->get<double>() >= least && given->get<double>() < below))
      fail(name, *given,
           "a number from " + std::to_string(least) + " and below " + std::to_string(below));
    value = given->get<double>();
  }
  void read(const char* name, bool& value) {
    const nlohmann::json* given = find(name);
    if (given == nullptr) return;
    if (!given->is_boolean()) fail(name, *given, "true or false");
    value = given->get<bool>();
  }
  void read(const char* name, std::string& value, const std::vector<std::string>& choices) {
    const nlohmann::json* given = find(name);
    if (given == nullptr) return;
    std::string listed;
    for (const std::string& choice : choices) {
      if (*given == choice) {
        value = choice;
        return;
      }
      listed += (listed.empty() ? "" : ", ") + choice;
    }
    fail(name, *given, "one of " + listed);
  }
  void read(const char* name, std::vector<std::string>& values) {
    const nlohmann::json* given = find(name);
    if (given == nullptr) return;
    values.clear();
    if (!given->is_array()) fail(name, *given, "a list of texts");
    for (const nlohmann::json& value : *given) {
      if (!value.is_string()) fail(name, value, "a text");
      values.push_back(value.get<std::string>());
    }
  }
  // One number stands for a list of one.
  void read(const char* name, std::vector<std::int64_t>& values, std::int64_t least,
            std::int64_t most) {
    const nlohmann::json* given = find(name);
    if (given == nullptr) return;
    values.clear();
    for (const nlohmann::json& value : given->is_array() ? *given : nlohmann::json{*given}) {
      if (!value.is_number_integer()) fail(name, value, "a whole number");
      values.push_back(value.get<std::int64_t>());
      check(name, values.back(), least, most);
    }
  }
  // After all fields: a name that none of them has is an error.
  void finish() const {
    for (const auto& entry : config_.items())
      if (!read_.contains(entry.key()))
        throw std::invalid_argument(entry.key() + ": a config of kind " + config_["kind"].dump() +
                                    " has no such field");
  }

 private:
  const nlohmann::json* find(const char* name) {
    read_.insert(name);
    const auto found = config_.find(name);
    return found == config_.end() ? nullptr : &*found;
  }
  [[noreturn]] static void fail(const char* name, const nlohmann::json& given,
                                const std::string& expected) {
    throw std::invalid_argument(std::string(name) + ": " + given.dump() + "; expected " + expected);
  }
  static void check(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most)
      fail(name, value, std::to_string(least) + " to " + std::to_string(most));
  }

  const nlohmann::json& config_;
  std::set<std::string> read_;
};

// Bounds that no real model passes: a config from elsewhere must not ask for all memory.
inline constexpr std::int64_t kMostVocabulary = 4'000'000, kMostDim = 65'536, kMostLayers = 512;

}  // namespace regard::nn
