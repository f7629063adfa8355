// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/load.h"
#include "regard/generate/translator.h"
#include "regard/nn/keep_memory.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kWindow = 256;  // lines read ahead, to make batches of like lengths

struct TranslateOptions {
  fs::path model, input;
  generate::TranslatorOptions translator;
  int threads = 0;
  bool json = false;
};

void print(const generate::Translation& translation, bool json) {
  if (!json) {
    std::cout << translation.text << '\n';
    return;
  }
  std::cout << nlohmann::json{{"text", translation.text},
                              {"log_probability", translation.log_probability},
                              {"tokens", translation.tokens.size()},
                              {"parts", translation.parts},
                              {"cut", translation.cut},
                              {"unfinished", translation.unfinished}}
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
            << '\n';
}

// A reader at a terminal wants an answer to each line; a file wants batches.
std::vector<std::string> read_window(std::istream& in, bool interactive) {
  std::vector<std::string> lines;
  std::string line;
  while (lines.size() < (interactive ? 1 : kWindow) && std::getline(in, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

void run(const TranslateOptions& options) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  const Loaded loaded = load(options.model);
  std::optional<generate::Translator> made;
  with_flag_names([&] { made.emplace(*loaded.model, loaded.vocabulary, options.translator); });
  const generate::Translator& translator = *made;
  std::ifstream file;
  if (!options.input.empty()) {
    if (fs::is_directory(options.input)) {
      throw std::runtime_error(options.input.string() + " is a folder; expected a file of text");
    }
    file.open(options.input, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + options.input.string());
  }
  std::istream& in = options.input.empty() ? std::cin : file;
  const bool interactive = options.input.empty() && isatty(STDIN_FILENO) != 0;
  std::uint64_t number = 0;
  while (true) {
    const auto lines = read_window(in, interactive);
    if (lines.empty()) break;
    std::vector<generate::Translation> translations;
    with_flag_names([&] { translations = translator.translate(lines, number); });
    for (const auto& translation : translations) {
      ++number;
      if (translation.cut) {
        std::cerr << "line " << number << ": only its first " << options.translator.max_source
                  << " tokens were read (--max-source)\n";
      } else if (translation.parts > 1) {
        std::cerr << "line " << number << ": long, translated in " << translation.parts
                  << " parts (--max-source)\n";
      }
      if (translation.unfinished) {
        std::cerr << "line " << number << ": the result did not come to its end "
                  << "(--length-factor, --length-extra)\n";
      }
      print(translation, options.json);
    }
    std::cout.flush();
    if (!std::cout) return;
    nn::give_spare_memory_back();
  }
  if (in.bad()) throw std::runtime_error("cannot read " + options.input.string() + " to its end");
}

void add_command(CLI::App& app, const std::string& name, const std::string& what,
                 const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, what);
  const auto options = std::make_shared<TranslateOptions>();
  auto& t = options->translator;
  t.cut_sources = name == "summarise";
  const auto add = [command](const std::string& flag, auto& value, const std::string& help) {
    return command->add_option(flag, value, help)->capture_default_str();
  };
  add("model", options->model, "The model's folder")->required();
  add("--input", options->input, "A file, instead of standard input");
  add("--beams", t.beam.beams, "Hypotheses that are kept; 1 is greedy");
  add("--length-penalty", t.beam.length_penalty,
      "Scores are divided by length^penalty: 0 prefers short results");
  command->add_flag("--sample", t.sampling, "Draw the result instead of searching for the best");
  add("--temperature", t.draw.temperature, "Sampling: below 1 sharpens");
  add("--top-k", t.draw.top_k, "Sampling: only the k likeliest tokens; 0 is all");
  add("--top-p", t.draw.top_p, "Sampling: only the likeliest tokens of probability p together");
  add("--seed", t.draw.seed, "Sampling: the same seed draws the same")->check(kSeeds);
  add("--max-source", t.max_source,
      t.cut_sources ? "Tokens of a text that are read"
                    : "Tokens: longer lines are translated in parts");
  add("--length-factor", t.length_factor,
      "A result has at most this many times its source's tokens");
  add("--length-extra", t.length_extra, "and so many more");
  add("--batch-tokens", t.batch_tokens, "Positions of a batch, beams included");
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json, "A JSON object a line");
  command->footer(
      "A line in, a line out, in the same order; an empty line stays empty. Sampling draws the "
      "same "
      "for a line whatever lines are beside it.\n\nExamples:\n" +
      examples);
  command->callback([command, options] {
    if (!options->translator.sampling) {
      refuse_flags(*command, {"--temperature", "--top-k", "--top-p", "--seed"},
                   "is for --sample, which was not given");
    }
    run(*options);
  });
}

}  // namespace

void add_translate(CLI::App& app) {
  add_command(app, "translate", "Translates lines of text",
              "  regard translate en-de < text.en > text.de\n"
              "  echo 'library for reading files' | regard translate en-de --beams 1\n"
              "  regard translate en-de --sample --top-p 0.9 --seed 7 --json < text.en");
  add_command(app, "summarise", "Makes short lines of long texts, one text a line",
              "  regard summarise summariser < texts > short-lines");
}

}  // namespace regard::cli
