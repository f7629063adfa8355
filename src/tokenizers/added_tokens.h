// SPDX-License-Identifier: Apache-2.0
// Tokens that stand beside the model's vocabulary ("<s>", "[MASK]", "<|im_start|>"): they are found
// in a text before anything else happens to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tokenizers/model.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/settings.h"

namespace regard::text {

class AddedTokens {
 public:
  // A part of a text: an added token (its id), or text (-1).
  struct Part {
    std::int64_t id;
    std::string text;
    bool first;  // begins the whole text
  };

  AddedTokens() = default;
  // The `added_tokens` of a tokenizer.json.
  AddedTokens(const Json& settings, const Normalizer& normalizer);

  // Cuts out tokens that are looked for in the text as it is, normalizes the rest, and cuts out
  // those that are looked for in normalized text.
  std::vector<Part> split(std::string_view text, const Normalizer& normalizer) const;

  // As texts have them: normalized where they are looked for in normalized text.
  const std::unordered_map<std::int64_t, std::string>& tokens() const { return tokens_; }
  const StringMap<std::int64_t>& ids() const { return ids_; }
  bool is_special(std::int64_t id) const { return special_.contains(id); }

 private:
  struct Token {
    std::string content;
    std::int64_t id;
    bool single_word, takes_left, takes_right;
  };
  // Tokens by their first byte, longest first.
  using Index = std::unordered_map<char, std::vector<Token>>;

  static std::vector<Part> cut(std::string_view text, const Index& index, bool first);

  Index raw_, normalized_;
  std::unordered_map<std::int64_t, std::string> tokens_;
  StringMap<std::int64_t> ids_;
  std::unordered_set<std::int64_t> special_;
};

}  // namespace regard::text
