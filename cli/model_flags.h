// SPDX-License-Identifier: Apache-2.0
// The options that say which model is trained.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

namespace regard::cli {

struct ModelFlags {
  std::string model = "bahdanau";
  std::string luong_score = "general", luong_reach = "global";
  std::int64_t window = 10;
  bool no_input_feeding = false;
  std::string cell = "gru";
  std::int64_t dim = 0;     // 0: 512, or 256 for a Transformer
  std::int64_t layers = 0;  // 0: 1, or 3 for a Transformer
  std::int64_t embedding = 256, heads = 4;
  double dropout = 0.2;
  std::string norm = "pre";
};

void add_model_flags(CLI::App& command, ModelFlags& flags, const std::string& group);

// What regard::nn::make_model() takes. One vocabulary serves both sides; sources have at
// most max_length tokens.
nlohmann::json model_config(const ModelFlags& flags, std::int64_t vocabulary,
                            std::int64_t max_length);

}  // namespace regard::cli
