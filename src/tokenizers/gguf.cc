// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace regard::text {
namespace {

const char* const kBlank = "\u2581";  // what SentencePiece has for a blank
// Of tokenizer.ggml.token_type.
constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4;

const Json& entry(const Json& metadata, const std::string& name) {
  const auto found = metadata.find("tokenizer.ggml." + name);
  if (found == metadata.end()) {
    throw std::runtime_error("no tokenizer.ggml." + name + ": the file holds no tokenizer");
  }
  return *found;
}

const Json& list(const Json& metadata, const std::string& name) {
  const Json& found = entry(metadata, name);
  if (!found.is_array()) throw std::runtime_error("tokenizer.ggml." + name + " is not a list");
  return found;
}

// How the text is cut into words, by the name that the file gives it.
Json pre_tokenizer(const std::string& name) {
  const Json whole = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  if (name == "gpt-2") return whole;
  if (name == "smollm") {
    return {{"type", "Sequence"},
            {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, whole}}};
  }
  if (name == "llama-bpe") {
    const char* words = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                        R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    const Json split = {
        {"type", "Split"}, {"pattern", {{"Regex", words}}}, {"behavior", "Isolated"}};
    const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    return {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
  }
  throw std::runtime_error("tokenizer.ggml.pre is '" + name +
                           "'; expected smollm, gpt-2 or llama-bpe");
}

Json added_token(std::int64_t id, const Json& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// What stands before a text: the token of its beginning, where the file asks for it.
Json post_processor(const Json& metadata, bool asked, const Json& tokens) {
  if (!setting(metadata, "tokenizer.ggml.add_bos_token", asked)) return nullptr;
  const auto id = entry(metadata, "bos_token_id").get<std::size_t>();
  const Json begin = tokens.at(id);
  const auto part = [](const char* kind, const Json& name, int type) -> Json {
    return {{kind, {{"id", name}, {"type_id", type}}}};
  };
  const Json first = part("SpecialToken", begin, 0), text = part("Sequence", "A", 0);
  return {{"type", "TemplateProcessing"},
          {"single", {first, text}},
          {"pair", {first, text, part("SpecialToken", begin, 1), part("Sequence", "B", 1)}},
          {"special_tokens",
           {{begin.get<std::string>(),
             {{"id", begin}, {"ids", Json::array({id})}, {"tokens", Json::array({begin})}}}}}};
}

// The lists that say a vocabulary, checked.
struct Tokens {
  const Json &texts, &types;
  Json vocabulary = Json::object(), added = Json::array();
};

Tokens read_tokens(const Json& metadata) {
  Tokens tokens{list(metadata, "tokens"), list(metadata, "token_type")};
  if (tokens.types.size() != tokens.texts.size()) {
    throw std::runtime_error(
        "tokenizer.ggml.token_type has " + std::to_string(tokens.types.size()) +
        " entries and tokenizer.ggml.tokens " + std::to_string(tokens.texts.size()));
  }
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    if (!tokens.texts[i].is_string() || !tokens.types[i].is_number()) {
      throw std::runtime_error("tokenizer.ggml.tokens: entry " + std::to_string(i) +
                               " is not a text with a type");
    }
    const int type = tokens.types[i].get<int>();
    if (type == kUnknown || type == kControl || type == kUserDefined) {
      tokens.added.push_back(
          added_token(static_cast<std::int64_t>(i), tokens.texts[i], type != kUserDefined));
    }
    tokens.vocabulary[tokens.texts[i].get<std::string>()] = i;
  }
  return tokens;
}

// Byte-level BPE, which has its merges in the file.
Json byte_level_bpe(const Json& metadata) {
  const auto cut = setting<std::string>(metadata, "tokenizer.ggml.pre", "gpt-2");
  Tokens tokens = read_tokens(metadata);
  return {{"added_tokens", std::move(tokens.added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer(cut)},
          {"post_processor", post_processor(metadata, cut == "llama-bpe", tokens.texts)},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", std::move(tokens.vocabulary)},
            {"merges", list(metadata, "merges")},
            {"ignore_merges", cut == "llama-bpe"}}}};
}

// SentencePiece's BPE has a score for each token instead: of two neighbours, those become one whose
// token has the highest. As merges: every way to cut a token into two others, by its score.
Json merges_by_score(const Tokens& tokens, const Json& scores) {
  struct Merge {
    double score;
    std::string left, right;
  };
  std::unordered_map<std::string, double> words;
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    const int type = tokens.types[i].get<int>();
    if (type == kNormal || type == kUserDefined) {
      words[tokens.texts[i].get<std::string>()] = scores[i].get<double>();
    }
  }
  std::vector<Merge> merges;
  for (const auto& [word, score] : words) {
    for (std::size_t cut = 1; cut < word.size(); ++cut) {
      std::string left = word.substr(0, cut), right = word.substr(cut);
      if (words.contains(left) && words.contains(right)) {
        merges.push_back({score, std::move(left), std::move(right)});
      }
    }
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(b.score, a.left, a.right) < std::tie(a.score, b.left, b.right);
  });
  Json result = Json::array();
  for (const Merge& merge : merges) result.push_back(Json::array({merge.left, merge.right}));
  return result;
}

Json sentence_piece_bpe(const Json& metadata) {
  Tokens tokens = read_tokens(metadata);
  const Json& scores = list(metadata, "scores");
  if (scores.size() != tokens.texts.size()) {
    throw std::runtime_error("tokenizer.ggml.scores: expected a number for each of " +
                             std::to_string(tokens.texts.size()) + " tokens");
  }
  const auto unknown = setting<std::size_t>(metadata, "tokenizer.ggml.unknown_token_id", 0);
  const bool blank_before = setting(metadata, "tokenizer.ggml.add_space_prefix", true);
  Json marks = Json::array(), decoders = Json::array();
  if (blank_before) marks.push_back({{"type", "Prepend"}, {"prepend", kBlank}});
  marks.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlank}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (blank_before) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  Json merges = merges_by_score(tokens, scores);
  return {{"added_tokens", std::move(tokens.added)},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", std::move(marks)}}},
          {"pre_tokenizer", nullptr},
          {"post_processor", post_processor(metadata, true, tokens.texts)},
          {"decoder", {{"type", "Sequence"}, {"decoders", std::move(decoders)}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", std::move(tokens.vocabulary)},
            {"merges", std::move(merges)},
            {"unk_token", tokens.texts.at(unknown)},
            {"fuse_unk", true},
            {"byte_fallback", true}}}};
}

}  // namespace

Json settings_of_gguf(const Json& metadata) {
  const Json& model = entry(metadata, "model");
  if (model == "gpt2") return byte_level_bpe(metadata);
  if (model == "llama") return sentence_piece_bpe(metadata);
  throw std::runtime_error("tokenizer.ggml.model is " + model.dump() +
                           "; expected \"gpt2\" (byte-level BPE) or \"llama\" (SentencePiece's)");
}

}  // namespace regard::text
