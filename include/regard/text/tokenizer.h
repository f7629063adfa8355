// SPDX-License-Identifier: Apache-2.0
// Tokenizers of pretrained models: what turns a text into the ids that a checkpoint was trained on.
//
// Reads the `tokenizer.json` of Hugging Face checkpoints (byte-level BPE, BPE with byte fallback,
// WordPiece, Unigram, whole words, with their normalizers, pre-tokenizers, post-processors and
// decoders), SentencePiece's `*.model` files, and the vocabularies of GGUF files. Ids are those
// that the `tokenizers` library gives for a tokenizer.json, and SentencePiece for its models, in
// GGUF files as well. Unicode is ICU's.
//
// Sennrich et al. 2016 (BPE), Schuster and Nakajima 2012 (WordPiece), Kudo 2018 (Unigram).
//
// A `truncation` or `padding` that a tokenizer.json may hold is a setting of training runs and is
// not applied: batches are cut and padded where they are made.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace regard::text {

// One text, or a pair of texts, as ids. `type_ids` has 0 for the first text and 1 for the second,
// as BERT's segment embeddings take them.
struct Encoding {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> type_ids;
};

class Tokenizer {
 public:
  // `path` is a tokenizer.json, a SentencePiece model, a folder with one of them (tokenizer.json is
  // preferred), or a GGUF file with a BPE, byte-level or SentencePiece's. std::runtime_error, with
  // the file's name, for what cannot be read or asks for something that is not served.
  static Tokenizer load(const std::filesystem::path& path);

  // `json` is the text of a tokenizer.json; `name` stands for it in messages.
  static Tokenizer from_json(std::string_view json, const std::string& name);

  // std::invalid_argument for a text that is not UTF-8. Special tokens that stand in the text
  // ("<s>", "[MASK]") become their ids; those that the model expects around a text are added unless
  // `add_special_tokens` is false.
  Encoding encode(std::string_view text, bool add_special_tokens = true) const;
  Encoding encode_pair(std::string_view first, std::string_view second,
                       bool add_special_tokens = true) const;

  // The text of ids. std::out_of_range for an id that is not there.
  std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens = true) const;

  // One more than the largest id.
  std::int64_t size() const;
  // std::out_of_range for an id that is not there.
  const std::string& token(std::int64_t id) const;
  std::optional<std::int64_t> id(std::string_view token) const;
  bool is_special(std::int64_t id) const;

 private:
  static Tokenizer from_gguf(const std::filesystem::path& path);
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace regard::text
