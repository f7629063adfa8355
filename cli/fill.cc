// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/encoder.h"
#include "cli/flags.h"
#include "cli/open_model.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

struct FillOptions {
  fs::path model;
  std::vector<std::string> texts;
  std::int64_t top = 5;
  bool json = false;
  int threads = 0;
};

// What stands for a word that is to be found.
std::int64_t mask_token(const text::Tokenizer& tokenizer, const fs::path& folder) {
  const nlohmann::json named =
      read_json(folder / "tokenizer_config.json").value("mask_token", nlohmann::json());
  const nlohmann::json content =
      named.is_object() ? named.value("content", nlohmann::json()) : named;
  std::vector<std::string> names = {"[MASK]", "<mask>"};
  if (content.is_string()) names.insert(names.begin(), content.get<std::string>());
  for (const std::string& name : names)
    if (const auto id = tokenizer.id(name)) return *id;
  throw std::runtime_error(folder.string() + ": the tokenizer has no mask token");
}

std::vector<std::int64_t> places_of(const text::Encoding& encoding, std::int64_t mask) {
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i)
    if (encoding.ids[i] == mask) places.push_back(static_cast<std::int64_t>(i));
  return places;
}

// Without what stands around every text; masks that are still to be filled are shown.
std::string text_of(const text::Tokenizer& tokenizer, const std::vector<std::int64_t>& ids,
                    std::int64_t mask) {
  std::vector<std::int64_t> shown;
  for (const std::int64_t id : ids)
    if (id == mask || !tokenizer.is_special(id)) shown.push_back(id);
  return tokenizer.decode(shown, /*skip_special_tokens=*/false);
}

void fill(const Encoder& encoder, const FillOptions& options, std::int64_t mask,
          const std::string& text, const text::Encoding& encoding) {
  const std::vector<std::int64_t> places = places_of(encoding, mask);
  const torch::Tensor hidden = encoder.model->encode(batch_of({encoding}));
  const torch::Tensor rows = hidden[0].index_select(0, torch::tensor(places, torch::kInt64));
  const auto [likely, ids] = torch::softmax(encoder.model->word_logits(rows), -1)
                                 .topk(std::min(options.top, encoder.model->text_config().vocab));
  nlohmann::json answer = {{"text", text}, {"masks", nlohmann::json::array()}};
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (!options.json && places.size() > 1) std::cout << "mask " << i + 1 << ":\n";
    nlohmann::json list = nlohmann::json::array();
    for (std::int64_t k = 0; k < ids.size(1); ++k) {
      const auto at = static_cast<std::int64_t>(i);
      const auto id = ids[at][k].item<std::int64_t>();
      const double probability = likely[at][k].item<double>();
      std::vector<std::int64_t> filled = encoding.ids;
      filled[static_cast<std::size_t>(places[i])] = id;
      const std::string word = encoder.tokenizer.decode(std::vector{id});
      const std::string whole = text_of(encoder.tokenizer, filled, mask);
      list.push_back(
          {{"token", id}, {"word", word}, {"probability", probability}, {"text", whole}});
      char number[16];
      std::snprintf(number, sizeof number, "%.4f", probability);
      if (!options.json) std::cout << number << "  " << word << "\t" << whole << '\n';
    }
    answer["masks"].push_back(list);
  }
  if (options.json) {
    std::cout << answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
}

void run(const FillOptions& options) {
  if (options.top < 1)
    throw std::invalid_argument("--top: " + std::to_string(options.top) + "; expected at least 1");
  if (options.threads > 0) at::set_num_threads(options.threads);
  const torch::NoGradGuard no_gradients;
  const Encoder encoder = load_encoder(options.model);
  if (encoder.model->text_config().head != "masked-lm")
    throw std::runtime_error(options.model.string() + ": the model has no head for masked words (" +
                             encoder.model->text_config().head +
                             "); expected one trained to fill masks");
  const std::int64_t mask = mask_token(encoder.tokenizer, options.model);
  const std::vector<std::string> texts = texts_or_lines(options.texts);
  // All of them first: a text that does not serve is named before anything is computed.
  std::vector<text::Encoding> encodings;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string name = "text " + std::to_string(i + 1);
    encodings.push_back(encode_cut(encoder.tokenizer, texts[i], encoder.max_length, name));
    if (places_of(encodings.back(), mask).empty())
      throw std::invalid_argument(name + ": nothing to fill; put " + encoder.tokenizer.token(mask) +
                                  " where a word is missing");
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!options.json && texts.size() > 1)
      std::cout << (i > 0 ? "\n" : "") << "text " << i + 1 << ": " << texts[i] << '\n';
    fill(encoder, options, mask, texts[i], encodings[i]);
  }
}

}  // namespace

void add_fill(CLI::App& app) {
  CLI::App* command = app.add_subcommand("fill", "The likeliest words where a text has [MASK]");
  const auto options = std::make_shared<FillOptions>();
  command
      ->add_option("model", options->model,
                   "A folder with a masked language model (BERT, RoBERTa, Longformer)")
      ->required();
  command->add_option("texts", options->texts,
                      "Texts; without one, each line of standard input is one");
  command->add_option("--top", options->top, "How many words")->capture_default_str();
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json, "A JSON object for each text");
  command->footer(
      "A line for each word: its probability, the word, the text with it.\n\nExamples:\n"
      "  regard fill bert-base-uncased 'The capital of France is [MASK].'\n"
      "  regard fill roberta-base 'A <mask> of files.' --top 10 --json");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli
