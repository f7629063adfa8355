// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/load.h"
#include "picture/alignment.h"
#include "regard/generate/alignment.h"
#include "regard/generate/translator.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostWords = 400;  // a cell has 30 pixels

struct AlignOptions {
  fs::path model;
  std::string source, target;
  std::vector<fs::path> out;
  std::int64_t beams = 4;
  int threads = 0;
  bool json = false;
};

void run(const AlignOptions& options) {
  for (const auto& file : options.out) {
    const auto ending = file.extension();
    if (ending != ".png" && ending != ".html" && ending != ".csv") {
      throw std::invalid_argument("--out " + file.string() +
                                  ": expected a name that ends with .png, .html or .csv");
    }
  }
  if (options.out.empty() && !options.json) {
    throw std::invalid_argument("--out: expected a file (or --json)");
  }
  if (options.threads > 0) at::set_num_threads(options.threads);
  const Loaded loaded = load(options.model);
  std::string target = options.target;
  if (target.empty()) {
    generate::TranslatorOptions settings;
    settings.beam.beams = options.beams;
    settings.max_source = 100'000;  // in one part: the map is of the whole
    with_flag_names([&] {
      const generate::Translator translator(*loaded.model, loaded.vocabulary, settings);
      target = translator.translate({options.source}).front().text;
    });
    if (target.empty()) {
      throw std::runtime_error("the model's translation is empty: give one with --target");
    }
  }
  const auto words =
      generate::align_words(*loaded.model, loaded.vocabulary, options.source, target);
  const picture::Alignment alignment{words.source, words.target, words.weights};
  const std::size_t most = std::max(alignment.source.size(), alignment.target.size());
  for (const auto& file : options.out) {
    if (file.extension() != ".csv" && most > kMostWords) {
      throw std::invalid_argument(file.string() + ": a map of " + std::to_string(most) +
                                  " words on a side is too large to be drawn (at most " +
                                  std::to_string(kMostWords) + "); expected a .csv file");
    }
    picture::write_alignment(alignment, file, options.source + " \xe2\x86\x92 " + target);
    if (!options.json) std::cerr << file.string() << '\n';
  }
  if (!options.json) {
    std::cout << target << '\n';
    return;
  }
  nlohmann::json rows = nlohmann::json::array();
  for (std::size_t row = 0; row < alignment.target.size(); ++row) {
    const auto begin =
        alignment.weights.begin() + static_cast<std::ptrdiff_t>(row * alignment.source.size());
    rows.push_back(
        std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(alignment.source.size())));
  }
  std::cout << nlohmann::json{{"source", alignment.source},
                              {"target", alignment.target},
                              {"text", target},
                              {"weights", rows}}
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
            << '\n';
}

}  // namespace

void add_align(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "align", "Draws what a translation looked at: target words down, source words across");
  const auto options = std::make_shared<AlignOptions>();
  command->add_option("model", options->model, "The model's folder")->required();
  command->add_option("--source", options->source, "A text to translate")->required();
  command->add_option("--target", options->target,
                      "Its translation; the model's own when it is not given");
  one_each_time(
      command->add_option("--out", options->out, "A .png, .html or .csv file; may be given again"));
  command->add_option("--beams", options->beams, "For the model's own translation")
      ->capture_default_str();
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json, "Words and weights as JSON");
  command->footer(
      "White is a weight of 1, black one of 0. Pieces are joined to words; every row adds up to "
      "1.\n\nExamples:\n"
      "  regard align en-de --source 'library for reading files' --out map.png\n"
      "  regard align en-de --source 'a game' --target 'ein Spiel' --out map.html --out map.csv");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli
