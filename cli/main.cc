// SPDX-License-Identifier: Apache-2.0
// The command line. Results go to standard output, everything else to standard error.
#include <c10/util/Exception.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <stdexcept>

#include "cli/commands.h"
#include "regard/nn/keep_memory.h"

namespace regard::cli {

namespace {

constexpr int kFailed = 1, kUsage = 2, kInterrupted = 130;

// CLI11 says that a command is missing where one is misspelt.
void check_commands(const CLI::App& app, int argc, char** argv) {
  const CLI::App* in = &app;
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i) {
    // Groups of options are commands without a name there.
    const auto commands =
        in->get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
    if (commands.empty()) return;
    const CLI::App* next = nullptr;
    std::string known;
    for (const CLI::App* command : commands) {
      if (command->check_name(argv[i])) next = command;
      known += (known.empty() ? "" : ", ") + command->get_name();
    }
    if (next == nullptr) {
      throw std::invalid_argument((in == &app ? "" : in->get_name() + ": ") + "no command '" +
                                  argv[i] + "'; expected one of " + known);
    }
    in = next;
  }
}

int run(int argc, char** argv) {
  CLI::App app{
      "Regard: sequence models with exact, fused attention, trained and run on CPUs.\n\n"
      "Real text to begin with, a translator, and what it looked at:\n"
      "  regard data debian --languages en,de --out data\n"
      "  regard train translate --source data/en-de/train.en --target data/en-de/train.de \\\n"
      "      --valid-source data/en-de/valid.en --valid-target data/en-de/valid.de --out en-de\n"
      "  echo 'library for reading files' | regard translate en-de\n"
      "  regard align en-de --source 'library for reading files' --out map.png\n\n"
      "Language models, from transformers' folders or GGUF files:\n"
      "  regard generate model.gguf 'The three primary colours are'\n"
      "  regard chat model.gguf\n"
      "  regard ask model.gguf --document report.txt 'What was measured?'\n"
      "  regard look model.gguf --text 'The cat sat on the mat.' --out map.html\n\n"
      "Encoders:\n"
      "  regard embed all-MiniLM-L6-v2 'a library for reading files'\n"
      "  regard fill bert-base-uncased 'The capital of France is [MASK].'\n",
      "regard"};
  app.footer(
      "`regard COMMAND --help` explains a command.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what was made is saved).\n"
      "On cores that others use as well, OMP_WAIT_POLICY=PASSIVE in the environment lets threads "
      "sleep while they wait.");
  app.set_version_flag("--version", REGARD_VERSION);
  app.require_subcommand(1);
  // As everywhere else, an option that is given again replaces what was said before.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_data(app);
  add_train(app);
  add_translate(app);
  add_align(app);
  add_detect(app);
  add_generate(app);
  add_chat(app);
  add_ask(app);
  add_classify(app);
  add_embed(app);
  add_fill(app);
  add_look(app);
  try {
    check_commands(app, argc, argv);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const std::invalid_argument& error) {
    std::cerr << "regard: " << error.what() << '\n';
    return kUsage;
  } catch (const c10::Error& error) {  // without where in PyTorch it came about
    std::cerr << "regard: " << error.what_without_backtrace() << '\n';
    return kFailed;
  } catch (const std::exception& error) {
    std::cerr << "regard: " << error.what() << '\n';
    return kFailed;
  }
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "regard: cannot write the output\n";
    return kFailed;
  }
  return interrupted() ? kInterrupted : 0;
}

}  // namespace
}  // namespace regard::cli

int main(int argc, char** argv) {
  regard::nn::keep_freed_memory();
  // A file that may not grow is an error like a full disk, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  return regard::cli::run(argc, argv);
}
