// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf.h"

#include <string>
#include <utility>

namespace regard::text {
namespace {

const char* const kBlank = "\u2581";  // what SentencePiece has for a blank
// Of tokenizer.ggml.token_type, which are SentencePiece's.
constexpr int kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

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

// The token that an entry names; `fallback` where there is none.
std::size_t token_id(const Json& metadata, const std::string& name, std::size_t fallback,
                     std::size_t count) {
  const auto found = metadata.find("tokenizer.ggml." + name);
  if (found == metadata.end()) return fallback;
  if (!found->is_number_unsigned() || found->get<std::size_t>() >= count) {
    throw std::runtime_error("tokenizer.ggml." + name + " is " + found->dump() +
                             "; expected a number below " + std::to_string(count));
  }
  return found->get<std::size_t>();
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

// What stands before a text: the token of its beginning, where the file asks for it. None stands
// behind: these texts are to be continued.
Json post_processor(const Json& metadata, bool asked, const Json& tokens) {
  if (!setting(metadata, "tokenizer.ggml.add_bos_token", asked)) return nullptr;
  const std::size_t id = token_id(metadata, "bos_token_id", 1, tokens.size());
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

// The two lists of a vocabulary, checked, and the tokens that a text may name.
struct Tokens {
  const Json &texts, &types;
  Json added = Json::array();
};

Tokens read_tokens(const Json& metadata) {
  Tokens tokens{list(metadata, "tokens"), list(metadata, "token_type")};
  if (tokens.types.size() != tokens.texts.size()) {
    throw std::runtime_error(
        "tokenizer.ggml.token_type has " + std::to_string(tokens.types.size()) +
        " entries and tokenizer.ggml.tokens " + std::to_string(tokens.texts.size()));
  }
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    const Json& type = tokens.types[i];
    if (!tokens.texts[i].is_string() || !type.is_number_integer() || type < 1 || type > kByte) {
      throw std::runtime_error("tokenizer.ggml.tokens: entry " + std::to_string(i) +
                               " is not a text with a type from 1 to 6");
    }
    if (type == kUnknown || type == kControl || type == kUserDefined) {
      tokens.added.push_back(
          added_token(static_cast<std::int64_t>(i), tokens.texts[i], type != kUserDefined));
    }
  }
  return tokens;
}

// Byte-level BPE, which has its merges in the file.
Json byte_level_bpe(const Json& metadata) {
  const auto cut = setting<std::string>(metadata, "tokenizer.ggml.pre", "gpt-2");
  Tokens tokens = read_tokens(metadata);
  Json vocabulary = Json::object();
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    vocabulary[tokens.texts[i].get<std::string>()] = i;
  }
  return {{"added_tokens", std::move(tokens.added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer(cut)},
          {"post_processor", post_processor(metadata, cut == "llama-bpe", tokens.texts)},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", std::move(vocabulary)},
            {"merges", list(metadata, "merges")},
            {"ignore_merges", cut == "llama-bpe"}}}};
}

// SentencePiece's BPE, which has a score for each token instead.
Json sentence_piece_bpe(const Json& metadata) {
  Tokens tokens = read_tokens(metadata);
  const Json& scores = list(metadata, "scores");
  if (scores.size() != tokens.texts.size()) {
    throw std::runtime_error("tokenizer.ggml.scores has " + std::to_string(scores.size()) +
                             " entries and tokenizer.ggml.tokens " +
                             std::to_string(tokens.texts.size()));
  }
  Json pieces = Json::array();
  bool has_bytes = false;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!scores[i].is_number()) {
      throw std::runtime_error("tokenizer.ggml.scores: entry " + std::to_string(i) +
                               " is not a number");
    }
    pieces.push_back(Json::array({tokens.texts[i], scores[i], tokens.types[i]}));
    has_bytes |= tokens.types[i] == kByte;
  }
  const bool blank_before = setting(metadata, "tokenizer.ggml.add_space_prefix", true);
  Json decoders = Json::array();
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (blank_before) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"added_tokens", std::move(tokens.added)},
          {"post_processor", post_processor(metadata, true, tokens.texts)},
          {"decoder", {{"type", "Sequence"}, {"decoders", std::move(decoders)}}},
          {"model",
           {{"type", "SentencePiece"},
            {"pieces", std::move(pieces)},
            {"byte_fallback", has_bytes},
            {"add_dummy_prefix", blank_before}}}};
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
