// SPDX-License-Identifier: Apache-2.0
// Models: a word becomes ids of a vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizers/settings.h"

namespace regard::text {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

template <typename T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Appends the ids of `word`.
  virtual void encode(std::string_view word, std::vector<std::int64_t>& ids) const = 0;

  const StringMap<std::int64_t>& vocabulary() const { return vocabulary_; }
  std::optional<std::int64_t> id(std::string_view token) const {
    const auto found = vocabulary_.find(token);
    if (found == vocabulary_.end()) return std::nullopt;
    return found->second;
  }

 protected:
  Model() = default;

  // The ids of the bytes of `text`, <0x00> to <0xFF>; none where one of them has no token.
  std::optional<std::vector<std::int64_t>> bytes_of(std::string_view text) const;
  // {"token": id, ...}
  void read_vocabulary(const Json& settings);

  StringMap<std::int64_t> vocabulary_;
};

std::unique_ptr<Model> make_bpe(const Json& settings);
std::unique_ptr<Model> make_word_piece(const Json& settings);
std::unique_ptr<Model> make_unigram(const Json& settings);
std::unique_ptr<Model> make_word_level(const Json& settings);
// {"pieces": [[text, score, type], ...], "byte_fallback", "add_dummy_prefix"}: BPE that takes the
// pair with the highest score; texts, not words. Types are those of SentencePiece.
std::unique_ptr<Model> make_sentence_pieces(const Json& settings);

// The `model` of a tokenizer.json; or of "type" "SentencePiece", which only GGUF files give.
std::unique_ptr<Model> model_of(const Json& settings);

}  // namespace regard::text
