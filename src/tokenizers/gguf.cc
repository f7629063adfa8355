// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf.h"

#include <utility>

namespace regard::text {
namespace {

constexpr int kControl = 3, kUserDefined = 4;  // of tokenizer.ggml.token_type

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
Json post_processor(const Json& metadata, const std::string& cut, const Json& tokens) {
  if (!setting(metadata, "tokenizer.ggml.add_bos_token", cut == "llama-bpe")) return nullptr;
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

}  // namespace

Json settings_of_gguf(const Json& metadata) {
  const Json& model = entry(metadata, "model");
  if (model != "gpt2") {
    throw std::runtime_error("tokenizer.ggml.model is " + model.dump() +
                             "; expected \"gpt2\" (byte-level BPE)");
  }
  const Json &tokens = list(metadata, "tokens"), &types = list(metadata, "token_type");
  const auto cut = setting<std::string>(metadata, "tokenizer.ggml.pre", "gpt-2");
  if (types.size() != tokens.size()) {
    throw std::runtime_error("tokenizer.ggml.token_type has " + std::to_string(types.size()) +
                             " entries and tokenizer.ggml.tokens " + std::to_string(tokens.size()));
  }
  Json vocabulary = Json::object(), added = Json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].is_string() || !types[i].is_number()) {
      throw std::runtime_error("tokenizer.ggml.tokens: entry " + std::to_string(i) +
                               " is not a text with a type");
    }
    const int type = types[i].get<int>();
    if (type == kControl || type == kUserDefined) {
      added.push_back(added_token(static_cast<std::int64_t>(i), tokens[i], type == kControl));
    }
    vocabulary[tokens[i].get<std::string>()] = i;
  }
  return {{"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer(cut)},
          {"post_processor", post_processor(metadata, cut, tokens)},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", std::move(vocabulary)},
            {"merges", list(metadata, "merges")},
            {"ignore_merges", cut == "llama-bpe"}}}};
}

}  // namespace regard::text
