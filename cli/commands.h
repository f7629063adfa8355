// SPDX-License-Identifier: Apache-2.0
// The subcommands of `regard`, one file each: every function adds its command with its options,
// help and callback.
#pragma once

#include <CLI/CLI.hpp>

namespace regard::cli {

void add_data(CLI::App& app);
void add_train(CLI::App& app);
void add_train_detect(CLI::App& train);
void add_train_lm(CLI::App& train);
void add_train_classify(CLI::App& train);
void add_classify(CLI::App& app);
void add_translate(CLI::App& app);  // and summarise
void add_align(CLI::App& app);
void add_detect(CLI::App& app);
void add_generate(CLI::App& app);
void add_chat(CLI::App& app);
void add_ask(CLI::App& app);
void add_embed(CLI::App& app);
void add_fill(CLI::App& app);
void add_look(CLI::App& app);

// Whether work that saves what it has was asked to end early (SIGINT or SIGTERM while it listened).
bool interrupted();

}  // namespace regard::cli
