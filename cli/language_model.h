// SPDX-License-Identifier: Apache-2.0
// Language models that continue a text: a folder in transformers' form or of `regard train lm`, or
// a GGUF file.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "regard/generate/session.h"
#include "regard/nn/causal_lm.h"
#include "regard/text/tokenizer.h"

namespace regard::cli {

struct LanguageModel {
  std::shared_ptr<nn::CausalLM> model;
  text::Tokenizer tokenizer;
  std::int64_t context = 0;  // the most tokens that it was made for
  std::set<std::int64_t> end_tokens;
  std::string chat_template;  // Jinja, as the model came with it; or nothing
};

// What open_model() (cli/open_model.h) opened at `path`, with what stands beside it. dtype:
// "float32" or "bfloat16". std::runtime_error with the file's name and what is wrong.
LanguageModel language_model(const std::shared_ptr<nn::Model>& model,
                             const std::filesystem::path& path, const std::string& dtype);

// The options that every command with a language model has.
struct WritingFlags {
  std::filesystem::path model;
  std::string dtype = "float32";
  double temperature = 0;  // 0: greedy
  std::int64_t top_k = 0, tokens = 256;
  double top_p = 1;
  std::uint64_t seed = 1;
  int threads = 0;
};
void add_writing_flags(CLI::App& command, WritingFlags& flags);
// std::invalid_argument by the option's name.
void check(const WritingFlags& flags);
// Opens the model with these flags; says on a terminal that it does.
std::shared_ptr<nn::Model> open(const WritingFlags& flags);
LanguageModel load(const WritingFlags& flags);
// `number` names the text among others, which with the seed fixes what is drawn.
generate::WriteOptions writing(const WritingFlags& flags, const LanguageModel& model,
                               std::uint64_t number);

// "reading 512 of 8000 tokens", drawn again on a terminal, for texts that take long.
class ReadingLine {
 public:
  ReadingLine();
  ~ReadingLine() { clear(); }
  void show(std::int64_t done, std::int64_t of);
  void clear();

 private:
  bool terminal_, drawn_ = false;
};

}  // namespace regard::cli
