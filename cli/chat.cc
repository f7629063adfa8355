// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/chat_template.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/language_model.h"
#include "cli/writer.h"

namespace regard::cli {
namespace {

struct ChatOptions {
  WritingFlags writing;
  std::string system;
  std::int64_t context = 0;
  bool json = false;
};

constexpr char kHelp[] =
    "Say something and press Enter. Ctrl-C stops an answer, Ctrl-D or /quit ends the chat.\n"
    "  /reset   begin a new chat\n  /help    this\n  /quit    end\n";

class Chat {
 public:
  Chat(const ChatOptions& options, const LanguageModel& model)
      : options_(options),
        model_(model),
        form_(ChatTemplate::from_jinja(model.chat_template, options.writing.model.string())) {
    reset();
  }

  void reset() {
    const std::int64_t asked = options_.context > 0 ? options_.context : model_.context;
    session_.emplace(*model_.model, asked);
    ended_ = true;
  }

  // Answers, or says why not and returns false; the chat stays as it was then.
  bool answer(const std::string& user) {
    try {
      check_utf8(user, "text");
    } catch (const std::invalid_argument& error) {
      return refuse(user, "error", error.what());
    }
    const bool first = session_->length() == 0;
    const std::string before = ended_ ? "" : ChatTemplate::end_of_turn();
    const auto tokens = encode(
        model_, first ? form_.first_turn(options_.system, user) : before + form_.next_turn(user),
        "text", first);
    const auto count = static_cast<std::int64_t>(tokens.size());
    if (count >= session_->room() - session_->length()) {
      return refuse(user, "full",
                    "this needs " + std::to_string(count) + " tokens, and " +
                        std::to_string(session_->length()) + " of " +
                        std::to_string(session_->room()) +
                        " are taken: say /reset to begin a new chat" + (first ? ", and less" : ""));
    }
    session_->add(tokens);
    const Written written = write(*session_, model_, writing(options_.writing, model_, number_++),
                                  {}, {}, [&](const std::string& piece) {
                                    if (!options_.json) std::cout << piece << std::flush;
                                  });
    ended_ = written.ended_by == "end";
    show(written, user);
    return true;
  }

 private:
  bool refuse(const std::string& user, const char* ended_by, const std::string& why) const {
    std::cerr << why << '\n';
    if (options_.json) {
      std::cout << nlohmann::json{{"user", user}, {"ended_by", ended_by}, {"error", why}}.dump(
                       -1, ' ', false, nlohmann::json::error_handler_t::replace)
                << std::endl;
    }
    return false;
  }

  void show(const Written& written, const std::string& user) {
    if (options_.json) {
      std::cout << nlohmann::json{{"user", user},
                                  {"assistant", written.text},
                                  {"ended_by", written.ended_by},
                                  {"tokens", written.tokens.size()},
                                  {"read", written.read},
                                  {"length", session_->length()},
                                  {"room", session_->room()}}
                       .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                << std::endl;
      return;
    }
    std::cout << std::endl;
    if (written.ended_by == "interrupt") std::cerr << "(stopped)\n";
    if (written.ended_by == "length") {
      std::cerr << (session_->length() >= session_->room()
                        ? "(the chat is full: say /reset to begin a new one)\n"
                        : "(cut at --tokens)\n");
    }
    std::cerr << speed(written) << "; " << session_->length() << " of " << session_->room()
              << " tokens of the chat\n";
  }

  const ChatOptions& options_;
  const LanguageModel& model_;
  ChatTemplate form_;
  std::optional<generate::Session> session_;
  std::uint64_t number_ = 0;
  bool ended_ = true;  // the last answer, by its own end token
};

void run(const ChatOptions& options) {
  if (options.context < 0) throw std::invalid_argument("--context: expected 0 or more");
  const LanguageModel model = load(options.writing);
  if (options.context > model.context) {
    throw std::invalid_argument("--context: " + std::to_string(options.context) +
                                "; the model was made for " + std::to_string(model.context));
  }
  Chat chat(options, model);
  const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  if (terminal) std::cerr << kHelp;
  std::string line;
  int unanswered = 0;
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (line == "/quit") return;
    if (line == "/help") {
      std::cerr << kHelp;
    } else if (line == "/reset") {
      chat.reset();
    } else if (line.starts_with('/')) {
      std::cerr << line << ": no such command; /help lists them\n";
    } else {
      listen_to_signals();
      if (!chat.answer(line)) ++unanswered;
      // By pipe nobody is there to go on; at a terminal only the answer was meant.
      if (interrupted() && !terminal) return;
      interrupt_flag() = false;
      default_signals();
    }
    if (!std::cout) return;
  }
  if (terminal) std::cout << std::endl;
  if (!terminal && unanswered > 0)
    throw std::runtime_error(std::to_string(unanswered) + " lines got no answer");
}

}  // namespace

void add_chat(CLI::App& app) {
  CLI::App* command = app.add_subcommand("chat", "Talks with a language model, turn by turn");
  const auto options = std::make_shared<ChatOptions>();
  add_writing_flags(*command, options->writing);
  command->add_option("--system", options->system,
                      "What the model is told first; the template's own when it is not given");
  command->add_option("--context", options->context,
                      "The most tokens of a chat; 0 is what the model was made for");
  command->add_flag("--json", options->json, "A JSON object for each answer");
  command->footer(
      "A line is what you say. What was said is kept as keys and values: a turn costs its own "
      "tokens.\nThe model must have a ChatML template.\n\nExamples:\n"
      "  regard chat SmolLM2-135M-Instruct.Q4_1.gguf\n"
      "  regard chat folder --system 'You answer in one sentence.' --temperature 0.7\n"
      "  printf 'My name is Ada.\\nWhat is my name?\\n' | regard chat folder --json");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli
