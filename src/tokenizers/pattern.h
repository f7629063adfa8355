// SPDX-License-Identifier: Apache-2.0
// Where a text is cut: a literal string or a regular expression, and what becomes of the matches.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/settings.h"
#include "tokenizers/unicode.h"

namespace regard::text {

// Bytes [begin, end) of a text; `match` tells a match from what lies between two.
struct Cut {
  std::size_t begin, end;
  bool match;
};

// Finds the matches of something in a text: the cuts cover the text, in order.
using Pattern = std::function<std::vector<Cut>(std::string_view)>;

Pattern literal_pattern(std::string literal);
// Regular expressions as tokenizer.json writes them; \s is Unicode's White_Space.
// std::runtime_error where ICU does not understand `expression`.
Pattern regex_pattern(const std::string& expression);
// Every code point of which `predicate` holds is a match of its own.
Pattern class_pattern(bool (*predicate)(UChar32));
// {"String": ...} or {"Regex": ...}.
Pattern pattern_of(const Json& settings);

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
Behavior behavior_of(const std::string& name);

// The parts of `text`, none of them empty. `invert` exchanges matches and what lies between them.
std::vector<Cut> split(std::string_view text, const Pattern& pattern, Behavior behavior,
                       bool invert = false);

}  // namespace regard::text
