// SPDX-License-Identifier: Apache-2.0
// SentencePiece's table of replacements (its `precompiled_charsmap`): a double-array trie from
// sequences of bytes to what they become.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace regard::text {

class PrecompiledMap {
 public:
  // std::runtime_error where the table, in base64, is damaged.
  explicit PrecompiledMap(const std::string& base64);

  // Replaces what the table knows: whole grapheme clusters of up to 5 bytes first, then single code
  // points.
  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> find(std::string_view key) const;

  std::vector<std::uint32_t> trie_;
  std::string replacements_;  // each ends with a zero
};

}  // namespace regard::text
