// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/pattern.h"

#include <unicode/regex.h>

#include <stdexcept>
#include <utility>

namespace regard::text {
namespace {

// Appends a match and what lies before it.
void add_match(std::vector<Cut>& cuts, std::size_t& last, std::size_t begin, std::size_t end) {
  if (begin > last) cuts.push_back({last, begin, false});
  if (end > begin) cuts.push_back({begin, end, true});
  last = end;
}

void finish(std::vector<Cut>& cuts, std::size_t last, std::size_t size) {
  if (last < size) cuts.push_back({last, size, false});
}

// ICU's \s leaves out some of White_Space, which is what \s means in the expressions' own engine.
std::string with_white_space(const std::string& expression) {
  std::string out;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    if (expression[i] != '\\' || i + 1 == expression.size()) {
      out += expression[i];
      continue;
    }
    const char next = expression[++i];
    if (next == 's') {
      out += "\\p{White_Space}";
    } else if (next == 'S') {
      out += "\\P{White_Space}";
    } else {
      out += {'\\', next};
    }
  }
  return out;
}

}  // namespace

Pattern literal_pattern(std::string literal) {
  return [literal = std::move(literal)](std::string_view text) {
    std::vector<Cut> cuts;
    std::size_t last = 0;
    while (!literal.empty()) {
      const std::size_t found = text.find(literal, last);
      if (found == std::string_view::npos) break;
      add_match(cuts, last, found, found + literal.size());
    }
    finish(cuts, last, text.size());
    return cuts;
  };
}

Pattern regex_pattern(const std::string& expression) {
  UErrorCode error = U_ZERO_ERROR;
  UParseError where;
  const std::shared_ptr<const icu::RegexPattern> compiled(icu::RegexPattern::compile(
      icu::UnicodeString::fromUTF8(with_white_space(expression)), 0, where, error));
  if (U_FAILURE(error)) {
    throw std::runtime_error("the regular expression '" + expression + "' is not understood (" +
                             u_errorName(error) + " at its character " +
                             std::to_string(where.offset) + ")");
  }
  return [compiled, expression](std::string_view text) {
    UErrorCode status = U_ZERO_ERROR;
    const std::unique_ptr<icu::RegexMatcher> matcher(compiled->matcher(status));
    // Long runs of one class of characters need more than ICU's usual stack; memory is the limit.
    matcher->setStackLimit(0, status);
    UText input = UTEXT_INITIALIZER;
    utext_openUTF8(&input, text.data(), static_cast<std::int64_t>(text.size()), &status);
    matcher->reset(&input);
    std::vector<Cut> cuts;
    std::size_t last = 0;
    while (matcher->find(status)) {
      add_match(cuts, last, static_cast<std::size_t>(matcher->start64(status)),
                static_cast<std::size_t>(matcher->end64(status)));
    }
    utext_close(&input);
    if (U_FAILURE(status)) {
      throw std::runtime_error("the regular expression '" + expression + "' failed on a text (" +
                               u_errorName(status) + ")");
    }
    finish(cuts, last, text.size());
    return cuts;
  };
}

Pattern class_pattern(bool (*predicate)(UChar32)) {
  return [predicate](std::string_view text) {
    std::vector<Cut> cuts;
    std::size_t last = 0;
    each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
      if (predicate(c)) add_match(cuts, last, begin, end);
    });
    finish(cuts, last, text.size());
    return cuts;
  };
}

Pattern pattern_of(const Json& settings) {
  if (settings.contains("String")) return literal_pattern(settings["String"].get<std::string>());
  if (settings.contains("Regex")) return regex_pattern(settings["Regex"].get<std::string>());
  throw std::runtime_error("a pattern is neither a 'String' nor a 'Regex'");
}

Behavior behavior_of(const std::string& name) {
  static constexpr std::pair<const char*, Behavior> kNames[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  not_served("a split", name);
}

std::vector<Cut> split(std::string_view text, const Pattern& pattern, Behavior behavior,
                       bool invert) {
  std::vector<Cut> cuts = pattern(text);
  if (invert) {
    for (Cut& cut : cuts) cut.match = !cut.match;
  }
  std::vector<Cut> parts;
  bool joins = false;  // the part before takes in the next cut
  switch (behavior) {
    case Behavior::kRemoved:
      for (const Cut& cut : cuts) {
        if (!cut.match) parts.push_back(cut);
      }
      return parts;
    case Behavior::kIsolated: return cuts;
    case Behavior::kContiguous:
      for (const Cut& cut : cuts) {
        if (!parts.empty() && parts.back().match == cut.match) {
          parts.back().end = cut.end;
        } else {
          parts.push_back(cut);
        }
      }
      return parts;
    case Behavior::kMergedWithPrevious:
      // A match joins what is not a match before it.
      for (const Cut& cut : cuts) {
        if (cut.match && joins) {
          parts.back().end = cut.end;
        } else {
          parts.push_back(cut);
        }
        joins = !cut.match;
      }
      return parts;
    case Behavior::kMergedWithNext:
      // A match takes in what is not a match behind it.
      for (const Cut& cut : cuts) {
        if (!cut.match && joins) {
          parts.back().end = cut.end;
        } else {
          parts.push_back(cut);
        }
        joins = cut.match;
      }
      return parts;
  }
  return parts;
}

}  // namespace regard::text
