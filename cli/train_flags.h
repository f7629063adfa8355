// SPDX-License-Identifier: Apache-2.0
// What every `regard train ...` has: the options of training, and how it is watched.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "regard/train/options.h"

namespace regard::train {
class Task;
struct Outcome;
}  // namespace regard::train

namespace regard::cli {

struct TrainFlags {
  std::filesystem::path out;
  train::TrainOptions options;
  int threads = 0;
  bool recompute = false, json = false;
};

// Adds an option that shows its default, under a heading of the help.
template <typename Value>
CLI::Option* add_flag_of(CLI::App& command, const std::string& name, Value& value,
                         const std::string& help, const std::string& group) {
  return command.add_option(name, value, help)->capture_default_str()->group(group);
}

// --out, how long, how fast, how often; under the headings "Text" and "Training".
void add_train_flags(CLI::App& command, TrainFlags& flags);
// The end of a command's help.
std::string train_footer(const std::string& files, const std::string& examples);

// Checks the options and sets the number of threads: before anything is loaded.
void begin_training(const TrainFlags& flags);
// Trains with a progress line, log.jsonl and curve.png, until its end or an interruption, and says
// what came of it: `cost` is what the best validation is named by ("loss"), `next` a command to try
// then.
train::Outcome run_training(train::Task& task, const TrainFlags& flags, const std::string& cost,
                            const std::string& next);

}  // namespace regard::cli
