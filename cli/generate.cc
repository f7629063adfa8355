// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/language_model.h"
#include "cli/writer.h"
#include "regard/nn/keep_memory.h"

namespace regard::cli {
namespace {

struct GenerateOptions {
  WritingFlags writing;
  std::vector<std::string> prompts, stops;
  bool echo = false, json = false;
};

void say(const Written& written, const std::string& prompt) {
  std::cout << nlohmann::json{{"prompt", prompt},
                              {"text", written.text},
                              {"ended_by", written.ended_by},
                              {"tokens", written.tokens},
                              {"log_probability", written.log_probability},
                              {"read", written.read},
                              {"read_seconds", written.read_seconds},
                              {"write_seconds", written.write_seconds}}
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
            << std::endl;
}

// A line in, a line out.
void say_failed(const std::string& prompt, const std::string& error, bool json) {
  if (!json) {
    std::cout << std::endl;
    return;
  }
  std::cout << nlohmann::json{{"prompt", prompt}, {"error", error}}.dump(
                   -1, ' ', false, nlohmann::json::error_handler_t::replace)
            << std::endl;
}

void write_one(const LanguageModel& model, const GenerateOptions& options,
               const std::string& prompt, std::uint64_t number, const std::string& name) {
  const auto tokens = encode(model, prompt, name);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count >= model.context) {
    throw std::invalid_argument(name + ": " + std::to_string(count) +
                                " tokens; the model was made for texts of " +
                                std::to_string(model.context));
  }
  generate::Session session(*model.model, std::min(model.context, count + options.writing.tokens));
  session.add(tokens);
  if (options.echo && !options.json) std::cout << prompt << std::flush;
  const Written written = write(session, model, writing(options.writing, model, number),
                                options.stops, tokens, [&](const std::string& piece) {
                                  if (!options.json) std::cout << piece << std::flush;
                                });
  if (options.json) {
    say(written, prompt);
  } else {
    std::cout << std::endl;
  }
  if (written.ended_by == "length" && session.length() >= model.context) {
    std::cerr << name << ": ended where the model's context of " << model.context
              << " tokens is full\n";
  }
  std::cerr << speed(written) << '\n';
  nn::give_spare_memory_back();
}

void run(const GenerateOptions& options) {
  for (const std::string& stop : options.stops)
    if (stop.empty()) throw std::invalid_argument("--stop: empty; expected some text");
  const LanguageModel model = load(options.writing);
  listen_to_signals();
  std::uint64_t number = 0;
  for (const std::string& prompt : options.prompts) {
    if (interrupted() || !std::cout) return;
    write_one(model, options, prompt, number, "prompt " + std::to_string(number + 1));
    ++number;
  }
  if (!options.prompts.empty()) return;
  std::uint64_t failed = 0;
  for (std::string line; !interrupted() && std::cout && std::getline(std::cin, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    ++number;
    try {
      write_one(model, options, line, number - 1, "line " + std::to_string(number));
    } catch (const std::invalid_argument& error) {  // of this line: the others are worth their time
      ++failed;
      std::cerr << error.what() << '\n';
      say_failed(line, error.what(), options.json);
    }
  }
  if (number == 0) throw std::invalid_argument("no prompt: give one, or lines on standard input");
  if (failed > 0) {
    throw std::runtime_error(std::to_string(failed) + " of " + std::to_string(number) +
                             " lines could not be continued");
  }
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Continues texts with a language model");
  const auto options = std::make_shared<GenerateOptions>();
  add_writing_flags(*command, options->writing);
  command->add_option("prompts", options->prompts,
                      "Texts to continue; without one, each line of standard input is one");
  one_each_time(command->add_option(
      "--stop", options->stops, "End before this text; may be given again, and is not written"));
  command->add_flag("--echo", options->echo, "Write the prompt, too");
  command->add_flag("--json", options->json, "A JSON object for each prompt");
  command->footer(
      "The text is written as it is made; what it took goes to standard error.\n\nExamples:\n"
      "  regard generate SmolLM2-135M-Instruct.Q4_1.gguf 'The three primary colours are'\n"
      "  regard generate folder 'Once upon a time' --temperature 0.8 --top-p 0.9 --seed 7\n"
      "  regard generate folder --tokens 40 --stop . --json < prompts.txt");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli
