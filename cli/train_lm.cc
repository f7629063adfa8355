// SPDX-License-Identifier: Apache-2.0
// `regard train lm`: a language model from nothing, or a checkpoint's fine-tuning.
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/tokenizer_files.h"
#include "cli/train_flags.h"
#include "regard/nn/pretrained.h"
#include "regard/text/tokenizer.h"
#include "regard/text/vocabulary.h"
#include "regard/train/language_task.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct TrainLmOptions {
  std::vector<fs::path> files, valid;
  text::DocumentOptions documents;
  text::VocabularyOptions pieces;
  std::string model = "gpt2";
  std::int64_t layers = 4, heads = 4, kv_heads = 0, dim = 256, feed_forward = 0;
  double dropout = 0.1;
  train::LanguageOptions batches;
  TrainFlags train;
};

bool is_new(const TrainLmOptions& options) {
  return options.model == "gpt2" || options.model == "llama";
}

TokenizerFiles new_tokenizer(const TrainLmOptions& options) {
  std::cerr << "learning a vocabulary of up to " << options.pieces.size << " pieces\n";
  std::vector<std::string> lines;
  text::read_documents(options.files, options.documents, [&](const text::Document& document) {
    std::istringstream text(document.text);
    for (std::string line; std::getline(text, line);)
      if (!line.empty()) lines.push_back(line);
  });
  if (lines.empty()) throw std::runtime_error("--text: the files hold no text");
  const text::Vocabulary vocabulary = text::Vocabulary::train_on(lines, options.pieces);
  const json config{{"tokenizer_class", "PreTrainedTokenizerFast"},
                    {"bos_token", vocabulary.piece(text::kBegin)},
                    {"eos_token", vocabulary.piece(text::kEnd)},
                    {"unk_token", vocabulary.piece(text::kUnknown)},
                    {"pad_token", vocabulary.piece(text::kPad)},
                    {"clean_up_tokenization_spaces", false},
                    {"model_max_length", options.batches.context}};
  return {{"tokenizer.json", vocabulary.tokenizer_json()},
          {"tokenizer_config.json", config.dump(2) + "\n"}};
}

// The folder's own if training goes on there, else the checkpoint's, else a new one.
TokenizerFiles tokenizer_files(const TrainLmOptions& options) {
  if (fs::exists(options.train.out / "training.safetensors"))
    return read_tokenizer_files(options.train.out);
  return is_new(options) ? new_tokenizer(options) : read_tokenizer_files(options.model);
}

std::shared_ptr<nn::CausalLM> new_model(const TrainLmOptions& options, std::int64_t vocabulary) {
  json config{{"kind", options.model},    {"vocab", vocabulary},
              {"dim", options.dim},       {"heads", options.heads},
              {"layers", options.layers}, {"feed_forward", options.feed_forward}};
  if (options.model == "gpt2") {
    config["max_positions"] = options.batches.context;
    for (const char* name : {"dropout", "embedding_dropout", "attention_dropout"})
      config[name] = options.dropout;
  } else {
    config["kv_heads"] = options.kv_heads;
    if (options.feed_forward == 0) config["feed_forward"] = 8 * options.dim / 3 / 32 * 32;
  }
  auto model = std::dynamic_pointer_cast<nn::CausalLM>(nn::build_model(config));
  model->origin = {{"model_type", options.model},
                   {"bos_token_id", text::kBegin},
                   {"eos_token_id", text::kEnd},
                   {"pad_token_id", text::kPad}};
  if (options.model == "llama") model->origin["max_position_embeddings"] = options.batches.context;
  return model;
}

// What ends a document: the checkpoint's end token, where it says one.
std::optional<std::int64_t> end_token(const nn::Model& model) {
  const json end = model.origin.is_object() ? model.origin.value("eos_token_id", json()) : json();
  if (end.is_number_integer()) return end.get<std::int64_t>();
  if (end.is_array() && !end.empty() && end[0].is_number_integer())
    return end[0].get<std::int64_t>();
  return std::nullopt;
}

train::TokenizedDocuments tokenize(const std::vector<fs::path>& files,
                                   const TrainLmOptions& options, const text::Tokenizer& tokenizer,
                                   std::optional<std::int64_t> end) {
  train::TokenizedDocuments result;
  text::read_documents(files, options.documents, [&](const text::Document& document) {
    auto ids = tokenizer.encode(document.text).ids;
    if (end && (ids.empty() || ids.back() != *end)) ids.push_back(*end);
    result.add(ids);
  });
  if (result.documents() == 0) {
    throw std::runtime_error(files.front().string() + ": holds no text");
  }
  std::cerr << result.documents() << " documents, " << result.tokens.size() << " tokens\n";
  return result;
}

void run(TrainLmOptions& options) {
  if (!is_new(options) && !fs::is_directory(options.model)) {
    throw std::invalid_argument("--model: '" + options.model +
                                "'; expected gpt2, llama or the folder of a checkpoint");
  }
  begin_training(options.train);
  const TokenizerFiles files = tokenizer_files(options);
  const text::Tokenizer tokenizer =
      load_tokenizer(files, is_new(options) ? options.train.out : fs::path(options.model));
  const auto model = is_new(options) ? new_model(options, tokenizer.size())
                                     : nn::open_model<nn::CausalLM>(options.model);
  check_vocabulary(tokenizer, model->output_parameters().front().size(0), options.model);
  const auto end = end_token(*model);
  if (end && (*end < 0 || *end >= tokenizer.size()))
    throw std::runtime_error(options.model + ": eos_token_id in config.json is " +
                             std::to_string(*end) + "; the vocabulary has " +
                             std::to_string(tokenizer.size()) + " tokens");
  const auto documents = tokenize(options.files, options, tokenizer, end);
  std::optional<train::TokenizedDocuments> validation;
  if (!options.valid.empty()) validation = tokenize(options.valid, options, tokenizer, end);
  train::LanguageTask task(
      model, documents, validation ? &*validation : nullptr, options.batches,
      [&files](const fs::path& folder) { write_tokenizer_files(files, folder); });
  run_training(task, options.train, "nll",
               "regard generate " + options.train.out.string() + " 'The first words'");
}

void add_flags(CLI::App& command, TrainLmOptions& options) {
  const std::string text = "Text", model = "Model", training = "Training";
  const auto add = [&command](const std::string& name, auto& value, const std::string& help,
                              const std::string& group) {
    return add_flag_of(command, name, value, help, group);
  };
  command.add_option("--text", options.files, "Files to learn from, or folders of *.txt files")
      ->required()
      ->take_all()
      ->group(text);
  command.add_option("--valid", options.valid, "Files to validate on")->take_all()->group(text);
  add("--documents", options.documents.form,
      "What a document is: file, lines, paragraphs (blank lines between), jsonl, tsv; auto goes by "
      "the file's name",
      text);
  add("--text-key", options.documents.text_key, "Where JSON objects have their text", text);
  add("--vocabulary-size", options.pieces.size, "Pieces of a new vocabulary", text);
  add("--model", options.model, "gpt2 or llama: a new one; or a checkpoint's folder", model);
  add("--layers", options.layers, "", model);
  add("--heads", options.heads, "", model);
  add("--kv-heads", options.kv_heads, "Heads of keys and values (llama); 0: as many as heads",
      model);
  add("--dim", options.dim, "", model);
  add("--feed-forward", options.feed_forward, "0: 4 x dim (gpt2), 8/3 x dim (llama)", model);
  add("--dropout", options.dropout, "Of a new gpt2", model);
  add("--context", options.batches.context,
      "Tokens that a prediction looks back on at most; longer documents are cut", model);
  add_train_flags(command, options.train);
  add("--batch-tokens", options.batches.batch_tokens, "Tokens of a batch at most", training);
}

}  // namespace

void add_train_lm(CLI::App& train) {
  CLI::App* command = train.add_subcommand(
      "lm", "Trains a language model on texts, from nothing or from a checkpoint");
  const auto options = std::make_shared<TrainLmOptions>();
  options->pieces.verbatim = true;
  options->train.options.optimizer = "adamw";
  options->train.options.weight_decay = 0.01;
  add_flags(*command, *options);
  command->footer(
      train_footer("tokenizer.json",
                   "  regard train lm --text data/descriptions/train.jsonl \\\n"
                   "      --valid data/descriptions/valid.jsonl --minutes 60 --out writer\n"
                   "  regard train lm --text notes/ --model SmolLM2-135M --learning-rate 1e-4 "
                   "--epochs 2 --out "
                   "mine\n"
                   "  regard generate writer 'library for' --temperature 0.8") +
      "\n\nThe folder is one of transformers' as well: AutoModelForCausalLM.from_pretrained.");
  command->callback([command, options] {
    if (!is_new(*options) && fs::is_directory(options->model)) {
      refuse_flags(*command,
                   {"--layers", "--heads", "--kv-heads", "--dim", "--feed-forward", "--dropout",
                    "--vocabulary-size"},
                   "is of a new model; a checkpoint has its own");
    }
    options->batches.seed = options->train.options.seed;
    run(*options);
  });
}

}  // namespace regard::cli
