// SPDX-License-Identifier: Apache-2.0
#include "cli/language_model.h"
#include "cli/flags.h"

#include <unistd.h>

#include <iostream>
#include <sstream>

#include "cli/open_model.h"
#include "cli/tokenizer_files.h"
#include "regard/formats/gguf.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void add_ids(const json& holder, const char* name, std::set<std::int64_t>& to) {
  const auto found = holder.find(name);
  if (found == holder.end()) return;
  if (found->is_number_integer()) to.insert(found->get<std::int64_t>());
  if (!found->is_array()) return;
  for (const json& id : *found)
    if (id.is_number_integer()) to.insert(id.get<std::int64_t>());
}

std::int64_t first_number(const json& holder, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto found = holder.find(name);
    if (found != holder.end() && found->is_number_integer()) return found->get<std::int64_t>();
  }
  return 0;
}

// A template of several by name is the one named "default".
std::string chat_template(const fs::path& folder) {
  if (fs::exists(folder / "chat_template.jinja")) return read_file(folder / "chat_template.jinja");
  const json all = read_json(folder / "tokenizer_config.json").value("chat_template", json());
  if (all.is_string()) return all.get<std::string>();
  if (!all.is_array()) return {};
  for (const json& one : all)
    if (one.is_object() && one.value("name", "") == "default") return one.value("template", "");
  return {};
}

// What a GGUF file's metadata says beside the model.
void describe_gguf(const fs::path& path, LanguageModel& model) {
  const json metadata = formats::GgufFile::open(path).metadata();
  model.context = first_number(metadata, {"llama.context_length"});
  for (const char* name : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    add_ids(metadata, name, model.end_tokens);
  const json found = metadata.value("tokenizer.chat_template", json());
  if (found.is_string()) model.chat_template = found.get<std::string>();
}

void describe_folder(const fs::path& folder, LanguageModel& model) {
  const json config = read_json(folder / "config.json");
  model.context = first_number(config, {"max_position_embeddings", "n_positions"});
  add_ids(config, "eos_token_id", model.end_tokens);
  add_ids(read_json(folder / "generation_config.json"), "eos_token_id", model.end_tokens);
  model.chat_template = chat_template(folder);
}

}  // namespace

LanguageModel language_model(const std::shared_ptr<nn::Model>& model, const fs::path& path,
                             const std::string& dtype) {
  auto causal = std::dynamic_pointer_cast<nn::CausalLM>(model);
  if (causal == nullptr)
    throw std::runtime_error(path.string() + ": a model of kind \"" + model->kind() +
                             "\" does not continue texts; expected a language model");
  LanguageModel loaded{causal, text::Tokenizer::load(path), 0, {}, {}};
  fs::is_directory(path) ? describe_folder(path, loaded) : describe_gguf(path, loaded);
  check_vocabulary(loaded.tokenizer, first_number(model->config(), {"vocab"}), path.string());
  if (loaded.context <= 0) loaded.context = causal->max_positions();
  if (loaded.context <= 0)
    throw std::runtime_error(path.string() + ": nothing says how long its texts may be");
  if (dtype == "bfloat16") causal->to(torch::kBFloat16);
  return loaded;
}

void add_writing_flags(CLI::App& command, WritingFlags& flags) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->capture_default_str();
  };
  command
      .add_option("model", flags.model,
                  "A folder with config.json, safetensors and tokenizer.json, or a .gguf file")
      ->required();
  add("--tokens", flags.tokens, "The most tokens that are written");
  add("--temperature", flags.temperature,
      "0 takes the likeliest token (or draws at 1, with --top-k or --top-p); above, tokens are "
      "drawn, and below 1 is sharper");
  add("--top-k", flags.top_k, "Draw of the k likeliest tokens only; 0 is all");
  add("--top-p", flags.top_p, "Draw of the likeliest tokens of probability p together");
  add("--seed", flags.seed, "The same seed draws the same")->check(kSeeds);
  add("--dtype", flags.dtype, "bfloat16 halves memory, and is faster where the processor has it")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  add_threads(command, flags.threads);
}

void check(const WritingFlags& flags) {
  const auto fail = [](const char* name, const auto& value, const char* expected) {
    std::ostringstream text;
    text << name << ": " << value << "; expected " << expected;
    throw std::invalid_argument(text.str());
  };
  constexpr std::int64_t kMostTokens = 100'000'000;
  if (flags.tokens < 1 || flags.tokens > kMostTokens)
    fail("--tokens", flags.tokens, "1 to 100,000,000");
  if (!(flags.temperature >= 0 && flags.temperature <= 100))
    fail("--temperature", flags.temperature, "0 (the likeliest token) to 100");
  if (flags.top_k < 0) fail("--top-k", flags.top_k, "0 (all) or more");
  if (!(flags.top_p > 0 && flags.top_p <= 1)) fail("--top-p", flags.top_p, "above 0, at most 1");
}

std::shared_ptr<nn::Model> open(const WritingFlags& flags) {
  check(flags);
  if (flags.threads > 0) at::set_num_threads(flags.threads);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) std::cerr << "loading " << flags.model.string() << std::flush;
  struct Clear {
    bool drawn;
    ~Clear() {
      if (drawn) std::cerr << "\r\x1b[K" << std::flush;
    }
  } const clear{terminal};
  return open_model(flags.model);
}

LanguageModel load(const WritingFlags& flags) {
  return language_model(open(flags), flags.model, flags.dtype);
}

generate::WriteOptions writing(const WritingFlags& flags, const LanguageModel& model,
                               std::uint64_t number) {
  generate::WriteOptions options;
  options.max_tokens = flags.tokens;
  options.end_tokens = model.end_tokens;
  options.sampling = flags.temperature > 0 || flags.top_k > 0 || flags.top_p < 1;
  options.draw.temperature = flags.temperature > 0 ? flags.temperature : 1;
  options.draw.top_k = flags.top_k;
  options.draw.top_p = flags.top_p;
  options.draw.seed = flags.seed;
  options.draw.rows = {number};
  return options;
}

ReadingLine::ReadingLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void ReadingLine::show(std::int64_t done, std::int64_t of) {
  if (!terminal_ || of < 1024) return;
  std::cerr << "\r\x1b[Kreading " << done << " of " << of << " tokens" << std::flush;
  drawn_ = true;
  if (done == of) clear();
}

void ReadingLine::clear() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

}  // namespace regard::cli
