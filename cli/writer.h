// SPDX-License-Identifier: Apache-2.0
// A language model's text on its way to a reader.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cli/language_model.h"

namespace regard::cli {

struct Written {
  std::string text, ended_by;  // "end", "stop" (a stop text), "length" or "interrupt"
  std::vector<std::int64_t> tokens;
  double log_probability = 0;
  std::int64_t read = 0;  // tokens that were read for it
  double read_seconds = 0, write_seconds = 0;
};

// Lets the session write, and gives the text out as it comes, whole characters at a time.
// `continued`: the tokens of the text that it continues; none where an answer begins. SIGINT (see
// cli/interrupt.h) ends it.
Written write(generate::Session& session, const LanguageModel& model,
              generate::WriteOptions options, const std::vector<std::string>& stops,
              std::span<const std::int64_t> continued,
              const std::function<void(const std::string&)>& give);

// "12 tokens read in 0.31 s (39/s), 50 written in 1.2 s (41/s)".
std::string speed(const Written& written);

// std::invalid_argument, which begins with `name`, for a text that is not UTF-8.
void check_utf8(const std::string& text, const std::string& name);

// The ids of a text, with the tokens that a model expects around it where it `begins` one.
// std::invalid_argument, which begins with `name`, for one that is empty or not UTF-8.
std::vector<std::int64_t> encode(const LanguageModel& model, const std::string& text,
                                 const std::string& name, bool begins = true);

}  // namespace regard::cli
