// SPDX-License-Identifier: Apache-2.0
#include "cli/tokenizer_files.h"

#include <stdexcept>

#include "cli/open_model.h"
#include "files/atomic_file.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNames[] = {"tokenizer.json",
                                  "tokenizer_config.json",
                                  "special_tokens_map.json",
                                  "tokenizer.model",
                                  "vocab.txt",
                                  "vocab.json",
                                  "merges.txt",
                                  "chat_template.jinja"};

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& folder) {
  TokenizerFiles files;
  for (const char* name : kNames) {
    if (fs::exists(folder / name)) files[name] = read_file(folder / name);
  }
  if (!files.contains("tokenizer.json") && !files.contains("tokenizer.model")) {
    throw std::runtime_error(folder.string() + ": has neither tokenizer.json nor tokenizer.model");
  }
  return files;
}

void write_tokenizer_files(const TokenizerFiles& files, const fs::path& folder) {
  for (const auto& [name, text] : files) files::write_file(folder / name, text);
}

text::Tokenizer load_tokenizer(const TokenizerFiles& files, const fs::path& folder) {
  const auto found = files.find("tokenizer.json");
  if (found == files.end()) return text::Tokenizer::load(folder);
  return text::Tokenizer::from_json(found->second, (folder / "tokenizer.json").string());
}

void check_vocabulary(const text::Tokenizer& tokenizer, std::int64_t rows,
                      const std::string& name) {
  if (tokenizer.size() <= rows) return;
  throw std::runtime_error(name + ": its tokenizer has " + std::to_string(tokenizer.size()) +
                           " tokens and its model " + std::to_string(rows) +
                           ": they do not belong together");
}

}  // namespace regard::cli
