// SPDX-License-Identifier: Apache-2.0
#include "cli/flags.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>
#include <utility>

namespace regard::cli {
namespace {

constexpr int kMostThreads = 1024;

// Settings whose flags are not their names with hyphens.
const std::pair<const char*, const char*> kOtherNames[] = {
    {"max_epochs", "--epochs"}, {"max_steps", "--steps"},     {"max_minutes", "--minutes"},
    {"clip_norm", "--clip"},    {"warmup_steps", "--warmup"},
};

std::string flag_of(std::string setting) {
  for (const auto& [name, flag] : kOtherNames)
    if (setting == name) return flag;
  std::replace(setting.begin(), setting.end(), '_', '-');
  return "--" + setting;
}

// The names at the beginning and those with an underscore are settings.
std::string named_by_flags(const std::string& message) {
  std::string out, word;
  const auto close = [&](bool first) {
    const bool setting = !word.empty() && (first || word.find('_') != std::string::npos);
    out += setting ? flag_of(word) : word;
    word.clear();
  };
  bool first = true, quoted = false;  // a value that was given stays as it is
  for (const char c : message) {
    if (c == '\'') quoted = !quoted;
    if (quoted) {
      close(false);
      first = false;
      out += c;
      continue;
    }
    if (std::islower(static_cast<unsigned char>(c)) != 0 || c == '_' ||
        (!word.empty() && std::isdigit(static_cast<unsigned char>(c)) != 0)) {
      word += c;
      continue;
    }
    close(first && c == ':');
    first = false;
    out += c;
  }
  close(false);
  return out;
}

}  // namespace

CLI::Option* add_threads(CLI::App& command, int& threads) {
  return command.add_option("--threads", threads, "0: as PyTorch chooses")
      ->check(CLI::Range(0, kMostThreads))
      ->capture_default_str();
}

void refuse_flags(const CLI::App& command, const std::vector<std::string>& names,
                  const std::string& why) {
  for (const std::string& name : names)
    if (command.count(name) > 0) throw std::invalid_argument(name + ": " + why);
}

void with_flag_names(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(named_by_flags(error.what()));
  }
}

}  // namespace regard::cli
