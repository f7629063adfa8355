// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/pre_tokenizer.h"

#include <utility>

#include "tokenizers/byte_alphabet.h"
#include "tokenizers/pattern.h"
#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

// GPT-2's cut into words (Radford et al. 2019): contractions, letters, numbers, other signs, each
// with one blank before it at most; blanks at the end stay together.
constexpr char kGpt2[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Each word is cut by itself.
PreTokenizer cutting(Pattern pattern, Behavior behavior, bool invert = false) {
  return [=](const std::vector<Word>& words) {
    std::vector<Word> out;
    for (const Word& word : words) {
      for (const Cut& cut : split(word.text, pattern, behavior, invert)) {
        out.push_back(
            {word.text.substr(cut.begin, cut.end - cut.begin), word.first && cut.begin == 0});
      }
    }
    return out;
  };
}

PreTokenizer then(PreTokenizer first, PreTokenizer second) {
  return [first = std::move(first), second = std::move(second)](std::vector<Word> words) {
    return second(first(std::move(words)));
  };
}

PreTokenizer byte_level(const Json& settings) {
  const bool prefix = setting(settings, "add_prefix_space", true);
  const PreTokenizer cut = setting(settings, "use_regex", true)
                               ? cutting(regex_pattern(kGpt2), Behavior::kIsolated)
                               : [](std::vector<Word> words) { return words; };
  return [prefix, cut](std::vector<Word> words) {
    if (prefix) {
      for (Word& word : words) {
        if (!word.text.starts_with(' ')) word.text.insert(0, 1, ' ');
      }
    }
    words = cut(std::move(words));
    for (Word& word : words) word.text = to_byte_alphabet(word.text);
    return words;
  };
}

// SentencePiece's words: blanks become U+2581, which begins a word.
PreTokenizer metaspace(const Json& settings) {
  const auto mark = setting<std::string>(settings, "replacement", "\xe2\x96\x81");
  // Older files say `add_prefix_space` instead.
  const auto scheme = setting<std::string>(
      settings, "prepend_scheme", setting(settings, "add_prefix_space", true) ? "always" : "never");
  const bool cuts = setting(settings, "split", true);
  const Pattern blank = literal_pattern(" "), marked = literal_pattern(mark);
  return [=](const std::vector<Word>& words) {
    std::vector<Word> out;
    for (const Word& word : words) {
      std::string text;
      for (const Cut& cut : blank(word.text)) {
        text += cut.match ? mark : word.text.substr(cut.begin, cut.end - cut.begin);
      }
      if (!text.starts_with(mark) && (scheme == "always" || (scheme == "first" && word.first))) {
        text.insert(0, mark);
      }
      if (!cuts) {
        out.push_back({text, word.first});
        continue;
      }
      for (const Cut& cut : split(text, marked, Behavior::kMergedWithNext)) {
        out.push_back({text.substr(cut.begin, cut.end - cut.begin), word.first && cut.begin == 0});
      }
    }
    return out;
  };
}

PreTokenizer sequence(const Json& settings) {
  std::vector<PreTokenizer> steps;
  for (const Json& one : settings.at("pretokenizers")) steps.push_back(pre_tokenizer_of(one));
  return [steps](std::vector<Word> words) {
    for (const PreTokenizer& step : steps) words = step(std::move(words));
    return words;
  };
}

}  // namespace

PreTokenizer pre_tokenizer_of(const Json& settings) {
  if (settings.is_null()) return [](std::vector<Word> words) { return words; };
  const std::string type = type_of(settings, "the pre-tokenizer");
  if (type == "Sequence") return sequence(settings);
  if (type == "ByteLevel") return byte_level(settings);
  if (type == "Metaspace") return metaspace(settings);
  if (type == "BertPreTokenizer") {
    return then(cutting(class_pattern(is_white_space), Behavior::kRemoved),
                cutting(class_pattern(is_punctuation), Behavior::kIsolated));
  }
  if (type == "Whitespace") {
    return cutting(regex_pattern(R"(\w+|[^\w\s]+)"), Behavior::kRemoved, true);
  }
  if (type == "WhitespaceSplit") {
    return cutting(class_pattern(is_white_space), Behavior::kRemoved);
  }
  if (type == "Split") {
    return cutting(pattern_of(settings.at("pattern")),
                   behavior_of(settings.at("behavior").get<std::string>()),
                   setting(settings, "invert", false));
  }
  if (type == "Punctuation") {
    return cutting(class_pattern(is_punctuation),
                   behavior_of(setting<std::string>(settings, "behavior", "Isolated")));
  }
  if (type == "Digits") {
    return cutting(class_pattern(is_number), setting(settings, "individual_digits", false)
                                                 ? Behavior::kIsolated
                                                 : Behavior::kContiguous);
  }
  if (type == "CharDelimiterSplit") {
    return cutting(literal_pattern(settings.at("delimiter").get<std::string>()),
                   Behavior::kRemoved);
  }
  not_served("a pre-tokenizer", type);
}

}  // namespace regard::text
