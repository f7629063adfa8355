// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/model.h"

#include <array>

namespace regard::text {
namespace {

const std::array<std::string, 256>& byte_tokens() {
  static const auto instance = [] {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    std::array<std::string, 256> tokens;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      tokens[byte] = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    }
    return tokens;
  }();
  return instance;
}

// Every word is a token, or unknown.
class WordLevel : public Model {
 public:
  explicit WordLevel(const Json& settings) {
    read_vocabulary(settings);
    unknown_ = id(setting<std::string>(settings, "unk_token", "<unk>"));
  }

  void encode(std::string_view word, std::vector<std::int64_t>& ids) const override {
    const auto found = id(word);
    if (!found && !unknown_) {
      throw std::runtime_error("the word '" + std::string(word) +
                               "' is not in the vocabulary, which has no token for unknown words");
    }
    ids.push_back(found ? *found : *unknown_);
  }

 private:
  std::optional<std::int64_t> unknown_;
};

}  // namespace

std::optional<std::vector<std::int64_t>> Model::bytes_of(std::string_view text) const {
  std::vector<std::int64_t> ids;
  for (const char byte : text) {
    const auto found = id(byte_tokens()[static_cast<unsigned char>(byte)]);
    if (!found) return std::nullopt;
    ids.push_back(*found);
  }
  return ids;
}

void Model::read_vocabulary(const Json& settings) {
  for (const auto& [token, value] : settings.at("vocab").items()) {
    vocabulary_.emplace(token, value.get<std::int64_t>());
  }
}

std::unique_ptr<Model> make_word_level(const Json& settings) {
  return std::make_unique<WordLevel>(settings);
}

std::unique_ptr<Model> model_of(const Json& settings) {
  // Old files leave the type out: each kind has a setting that no other has.
  std::string type = setting<std::string>(settings, "type", "");
  if (type.empty()) {
    type = settings.contains("merges")                     ? "BPE"
           : settings.contains("max_input_chars_per_word") ? "WordPiece"
           : settings.at("vocab").is_array()               ? "Unigram"
                                                           : "WordLevel";
  }
  if (type == "BPE") return make_bpe(settings);
  if (type == "WordPiece") return make_word_piece(settings);
  if (type == "Unigram") return make_unigram(settings);
  if (type == "WordLevel") return make_word_level(settings);
  if (type == "SentencePiece") return make_sentence_pieces(settings);
  not_served("a model", type);
}

}  // namespace regard::text
