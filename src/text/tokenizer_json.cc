// SPDX-License-Identifier: Apache-2.0
// A SentencePiece vocabulary of byte pairs as a tokenizer.json.
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_map>

#include "text/vocabulary_impl.h"

namespace regard::text {
namespace {

using nlohmann::json;

constexpr const char* kBlank = "\xe2\x96\x81";  // U+2581, as which SentencePiece writes a blank

// Pieces were made by joining two that were there before: in the order of their ids, every way to
// make a piece of two others. Where a character begins, a piece may be cut.
json merges_of(const std::vector<std::string>& pieces, std::size_t first) {
  std::unordered_map<std::string, std::size_t> ids;
  for (std::size_t id = first; id < pieces.size(); ++id) ids.emplace(pieces[id], id);
  json merges = json::array();
  for (std::size_t id = first; id < pieces.size(); ++id) {
    const std::string& piece = pieces[id];
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      if ((static_cast<unsigned char>(piece[cut]) & 0xC0) == 0x80) continue;
      const std::string left = piece.substr(0, cut), right = piece.substr(cut);
      if (ids.contains(left) && ids.contains(right)) merges.push_back({left, right});
    }
  }
  return merges;
}

json special(std::int64_t id, const std::string& piece) {
  return {{"id", id},        {"content", piece},    {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::string Vocabulary::tokenizer_json() const {
  const auto& processor = impl_->processor;
  std::vector<std::string> pieces;
  json vocabulary = json::object();
  std::size_t first = 0;  // after special pieces and bytes
  for (std::int64_t id = 0; id < size(); ++id) {
    pieces.push_back(piece(id));
    vocabulary[pieces.back()] = id;
    const int number = static_cast<int>(id);
    if (processor.IsControl(number) || processor.IsUnknown(number) || processor.IsByte(number)) {
      first = static_cast<std::size_t>(id) + 1;
    }
  }
  if (first < 256 + kEnd + 1) {
    throw std::invalid_argument("a vocabulary without bytes as pieces has no tokenizer.json here");
  }
  json added = json::array();
  for (const std::int64_t id : {kPad, kUnknown, kBegin, kEnd})
    added.push_back(special(id, piece(id)));
  const json begin{{"SpecialToken", {{"id", piece(kBegin)}, {"type_id", 0}}}};
  const auto text = [](const char* name, int type) {
    return json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  const json blank{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlank}};
  const json unblank{{"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}};
  const json tokenizer{
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers", {{{"type", "Prepend"}, {"prepend", kBlank}}, blank}}}},
      {"pre_tokenizer", nullptr},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {begin, text("A", 0)}},
        {"pair", {begin, text("A", 0), begin, text("B", 1)}},
        {"special_tokens",
         {{piece(kBegin),
           {{"id", piece(kBegin)}, {"ids", {kBegin}}, {"tokens", {piece(kBegin)}}}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {unblank,
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", piece(kUnknown)},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"ignore_merges", false},
        {"vocab", vocabulary},
        {"merges", merges_of(pieces, first)}}}};
  return tokenizer.dump(1) + "\n";
}

}  // namespace regard::text
