// SPDX-License-Identifier: Apache-2.0
// A language model's text on its way to a reader.
#pragma once

#include <functional>
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
// SIGINT (see cli/interrupt.h) ends it.
Written write(generate::Session& session, const LanguageModel& model,
              generate::WriteOptions options, const std::vector<std::string>& stops,
              const std::function<void(const std::string&)>& give);

// "12 tokens read in 0.31 s (39/s), 50 written in 1.2 s (41/s)".
std::string speed(const Written& written);

// The ids of a text. std::invalid_argument, which begins with `name`, for one that is empty or not
// UTF-8.
std::vector<std::int64_t> encode(const LanguageModel& model, const std::string& text,
                                 const std::string& name);

}  // namespace regard::cli
