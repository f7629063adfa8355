// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/chat_template.h"
#include "cli/commands.h"
#include "cli/encoder.h"
#include "cli/interrupt.h"
#include "cli/language_model.h"
#include "cli/span.h"
#include "cli/writer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLongestSpan = 30;  // tokens

struct AskOptions {
  WritingFlags writing;
  fs::path document;
  std::string question;
  bool json = false;
};

std::string read_document(const fs::path& path) {
  std::ifstream file;
  if (path != "-") {
    if (!fs::exists(path)) throw std::runtime_error(path.string() + ": no such file");
    if (fs::is_directory(path))
      throw std::runtime_error(path.string() + " is a folder; expected a file of text");
    file.open(path, std::ios::binary);
    if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  }
  std::ostringstream text;
  text << (path == "-" ? std::cin : file).rdbuf();
  return text.str();
}

std::string prompt(const std::string& document, const std::string& question) {
  return "Read this document.\n\n" + document +
         "\n\nAnswer the question from the document, shortly.\nQuestion: " + question;
}

void answer_by_span(const Encoder& encoder, const AskOptions& options,
                    const std::string& document) {
  if (encoder.model->text_config().head != "span")
    throw std::runtime_error(options.writing.model.string() +
                             ": the model has no head that finds answers (" +
                             encoder.model->text_config().head + ")");
  check_utf8(document, options.document.string());
  check_utf8(options.question, "question");
  const Span span = find_span(encoder, options.question, document, kLongestSpan);
  if (options.json) {
    std::cout << nlohmann::json{{"question", options.question},
                                {"answer", span.text},
                                {"start", span.start},
                                {"end", span.end},
                                {"probability", span.probability},
                                {"tokens", span.tokens},
                                {"windows", span.windows}}
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
              << '\n';
    return;
  }
  std::cout << span.text << '\n';
  std::cerr << "probability " << span.probability << "; " << span.tokens << " tokens in "
            << span.windows << " windows\n";
}

void run(const AskOptions& options) {
  if (options.question.empty()) throw std::invalid_argument("question: empty; expected some text");
  const std::string document = read_document(options.document);
  if (document.find_first_not_of(" \t\r\n") == std::string::npos)
    throw std::invalid_argument(options.document.string() + ": an empty document");
  const auto opened = open(options.writing);
  if (std::dynamic_pointer_cast<nn::TextEncoder>(opened) != nullptr)
    return answer_by_span(encoder_of(opened, options.writing.model), options, document);
  const LanguageModel model = language_model(opened, options.writing.model, options.writing.dtype);
  const auto form = ChatTemplate::from_jinja(model.chat_template, options.writing.model.string());
  const std::string name = options.document.string();
  check_utf8(document, name);
  check_utf8(options.question, "question");
  const auto tokens = encode(model, form.first_turn("", prompt(document, options.question)), name);
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::int64_t most = model.context - options.writing.tokens;
  if (most < 1)
    throw std::invalid_argument("--tokens: " + std::to_string(options.writing.tokens) +
                                "; the model was made for texts of " +
                                std::to_string(model.context) + ", the answer included");
  if (count > most) {
    throw std::invalid_argument(name + ": with the question " + std::to_string(count) +
                                " tokens; the model reads " + std::to_string(most) +
                                " and writes up to " + std::to_string(options.writing.tokens) +
                                " (--tokens): give a shorter document, or a part of it");
  }
  generate::Session session(*model.model, count + options.writing.tokens);
  session.add(tokens);
  listen_to_signals();
  const Written written = write(session, model, writing(options.writing, model, 0), {}, {},
                                [&](const std::string& piece) {
                                  if (!options.json) std::cout << piece << std::flush;
                                });
  if (options.json) {
    std::cout << nlohmann::json{{"question", options.question},
                                {"answer", written.text},
                                {"ended_by", written.ended_by},
                                {"read", written.read},
                                {"read_seconds", written.read_seconds},
                                {"write_seconds", written.write_seconds}}
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  std::cout << std::endl;
  std::cerr << speed(written) << '\n';
}

}  // namespace

void add_ask(CLI::App& app) {
  CLI::App* command = app.add_subcommand("ask", "Answers a question from a document");
  const auto options = std::make_shared<AskOptions>();
  options->writing.tokens = 128;
  add_writing_flags(*command, options->writing);
  command->add_option("--document", options->document, "A text file, or - for standard input")
      ->required();
  command->add_option("question", options->question, "What to answer")->required();
  command->add_flag("--json", options->json, "The answer as JSON");
  command->footer(
      "A language model that was trained to chat reads the whole document and writes an answer. An "
      "encoder\nwith a head for it (BERT, RoBERTa, Longformer) finds the span that answers, in "
      "windows where the\ndocument is longer than it reads.\n"
      "\nExamples:\n"
      "  regard ask SmolLM2-135M-Instruct.Q4_1.gguf --document report.txt 'What was measured?'\n"
      "  man ls | regard ask folder --document - 'Which option sorts by size?'");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli
