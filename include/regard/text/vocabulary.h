// SPDX-License-Identifier: Apache-2.0
// Subword vocabularies: SentencePiece's BPE or unigram pieces, learned from text files and kept as
// one file (`vocabulary.model`, SentencePiece's own format) beside a model's weights. One
// vocabulary serves source and target, so that names and numbers have the same pieces on both
// sides.
//
// Kudo and Richardson, "SentencePiece" (2018); Sennrich et al., "Neural Machine Translation of Rare
// Words with Subword Units" (2016).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace regard::text {

// Ids of special tokens, the same in every vocabulary and model of Regard.
inline constexpr std::int64_t kPad = 0, kUnknown = 1, kBegin = 2, kEnd = 3;

struct VocabularyOptions {
  int size = 8000;            // pieces, special ones included; fewer if the text has no more
  std::string type = "bpe";   // or "unigram"
  bool byte_fallback = true;  // characters never seen become bytes (256 pieces) instead of unknown
  std::int64_t sample = 1'000'000;  // lines learned from at most, a sample by `seed` of all
  std::uint64_t seed = 1;
  // Texts keep their blanks and characters as they are, as language models need them; otherwise
  // blanks are joined and characters normalized (NFKC).
  bool verbatim = false;
};

class Vocabulary {
 public:
  // Learns pieces from the lines of `files`. std::invalid_argument for options that make no sense,
  // std::runtime_error for files that cannot be read or hold no text.
  static Vocabulary train(const std::vector<std::filesystem::path>& files,
                          const VocabularyOptions& options = {});

  // The same of texts in memory, each as a line.
  static Vocabulary train_on(const std::vector<std::string>& texts,
                             const VocabularyOptions& options);

  // std::runtime_error, with the file's name, for what is not a SentencePiece model or numbers its
  // special tokens in another way.
  static Vocabulary load(const std::filesystem::path& file);

  void save(const std::filesystem::path& file) const;  // whole or not at all

  std::int64_t size() const;

  // Ids of a text's pieces; no special token is added.
  std::vector<std::int64_t> encode(std::string_view text) const;

  // The text of ids; special tokens are left out. std::out_of_range for an id that is not there.
  std::string decode(std::span<const std::int64_t> ids) const;

  // A piece as SentencePiece writes it: a word's first piece begins with U+2581 (a low bar).
  const std::string& piece(std::int64_t id) const;

  // Puts pieces together into words: word w consists of pieces first[w] .. first[w + 1] - 1 and
  // reads words[w]. `first` has one entry more than there are words.
  struct Words {
    std::vector<std::string> words;
    std::vector<std::size_t> first;
  };
  Words words(std::span<const std::int64_t> ids) const;

  // The pieces as a `tokenizer.json`, which Tokenizer (regard/text/tokenizer.h) and transformers'
  // AutoTokenizer read: texts begin with "<s>". std::invalid_argument unless the vocabulary is a
  // verbatim "bpe" with bytes.
  std::string tokenizer_json() const;

 private:
  struct Impl;
  explicit Vocabulary(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace regard::text
