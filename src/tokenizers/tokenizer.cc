// SPDX-License-Identifier: Apache-2.0
#include "regard/text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "regard/formats/gguf.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/decoder.h"
#include "tokenizers/gguf.h"
#include "tokenizers/model.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/post_processor.h"
#include "tokenizers/pre_tokenizer.h"
#include "tokenizers/unicode.h"

namespace regard::text {

// What a file says, ready to run. `pieces` is there for SentencePiece's models alone, which do
// everything themselves.
struct Tokenizer::Impl {
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<Model> model;
  Template around;
  Decoder decoder;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> pieces;
  std::vector<std::string> tokens;  // by id; empty where an id is not used
  std::vector<bool> used;
  StringMap<std::int64_t> ids;

  static std::shared_ptr<const Impl> make(const Json& settings);

  void name(std::int64_t id, const std::string& token) {
    constexpr std::int64_t kMostIds = 16'777'216;
    if (id < 0 || id >= kMostIds) {
      throw std::runtime_error("token '" + token + "' has the id " + std::to_string(id));
    }
    const auto at = static_cast<std::size_t>(id);
    if (at >= tokens.size()) {
      tokens.resize(at + 1);
      used.resize(at + 1);
    }
    tokens[at] = token;
    used[at] = true;
    ids[token] = id;
  }

  std::vector<std::int64_t> encode(std::string_view text) const {
    check_utf8(text);
    std::vector<std::int64_t> out;
    if (pieces) {
      std::vector<int> found;
      const auto status = pieces->Encode({text.data(), text.size()}, &found);
      if (!status.ok()) throw std::runtime_error("SentencePiece: " + status.ToString());
      out.assign(found.begin(), found.end());
      return out;
    }
    for (AddedTokens::Part& part : added.split(text, normalizer)) {
      if (part.id >= 0) {
        out.push_back(part.id);
        continue;
      }
      for (const Word& word : pre_tokenizer({{std::move(part.text), part.first}})) {
        if (!word.text.empty()) model->encode(word.text, out);
      }
    }
    return out;
  }
};

namespace {

std::string read(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

// Words of settings that nlohmann's exceptions do not name.
Json parse(std::string_view text) {
  Json settings = Json::parse(text, nullptr, false);
  if (settings.is_discarded()) throw std::runtime_error("not JSON");
  if (!settings.is_object() || !settings.contains("model")) {
    throw std::runtime_error("no 'model': is this a tokenizer.json?");
  }
  return settings;
}

const Json& part_of(const Json& settings, const char* name) {
  static const Json kNone;
  const auto found = settings.find(name);
  return found == settings.end() ? kNone : *found;
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

std::shared_ptr<const Tokenizer::Impl> Tokenizer::Impl::make(const Json& settings) {
  auto impl = std::make_shared<Impl>();
  impl->normalizer = normalizer_of(part_of(settings, "normalizer"));
  impl->pre_tokenizer = pre_tokenizer_of(part_of(settings, "pre_tokenizer"));
  impl->model = model_of(settings.at("model"));
  impl->around = template_of(part_of(settings, "post_processor"));
  impl->decoder = decoder_of(part_of(settings, "decoder"));
  impl->added = AddedTokens(part_of(settings, "added_tokens"), impl->normalizer);
  for (const auto& [token, id] : impl->model->vocabulary()) impl->name(id, token);
  for (const auto& [id, token] : impl->added.tokens()) impl->name(id, token);
  for (const auto& [token, id] : impl->added.ids()) impl->ids[token] = id;
  return impl;
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& name) {
  try {
    return Tokenizer(Impl::make(parse(json)));
  } catch (const std::exception& error) {
    throw std::runtime_error(name + ": " + error.what());
  }
}

Tokenizer Tokenizer::from_gguf(const std::filesystem::path& path) {
  const auto file = formats::GgufFile::open(path);
  try {
    return Tokenizer(Impl::make(settings_of_gguf(file.metadata())));
  } catch (const std::exception& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    for (const char* name :
         {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
      if (std::filesystem::exists(path / name, ignored)) return load(path / name);
    }
    throw std::runtime_error(path.string() +
                             " holds no tokenizer: expected tokenizer.json or tokenizer.model");
  }
  if (path.extension() == ".gguf") return from_gguf(path);
  if (path.extension() != ".model") return from_json(read(path), path.string());
  auto impl = std::make_shared<Impl>();
  impl->pieces = std::make_unique<sentencepiece::SentencePieceProcessor>();
  const auto status = impl->pieces->LoadFromSerializedProto(read(path));
  if (!status.ok()) {
    throw std::runtime_error(path.string() + " is not a SentencePiece model: " + status.ToString());
  }
  for (int id = 0; id < impl->pieces->GetPieceSize(); ++id) {
    impl->name(id, impl->pieces->IdToPiece(id));
  }
  return Tokenizer(std::move(impl));
}

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  const std::vector<std::int64_t> ids = impl_->encode(text);
  return (add_special_tokens ? impl_->around : Template{}).apply(ids);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                bool add_special_tokens) const {
  const std::vector<std::int64_t> a = impl_->encode(first), b = impl_->encode(second);
  return (add_special_tokens ? impl_->around : Template{}).apply(a, b);
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const {
  if (impl_->pieces) {
    std::vector<int> found;
    for (const std::int64_t id : ids) {
      token(id);  // or an exception
      const auto narrow = static_cast<int>(id);
      if (!skip_special_tokens || !impl_->pieces->IsControl(narrow)) found.push_back(narrow);
    }
    std::string out;
    const auto status = impl_->pieces->Decode(found, &out);
    if (!status.ok()) throw std::runtime_error("SentencePiece: " + status.ToString());
    return out;
  }
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    if (skip_special_tokens && is_special(id)) continue;
    tokens.push_back(token(id));
  }
  std::string out;
  for (const std::string& part : impl_->decoder(std::move(tokens))) out += part;
  return out;
}

std::int64_t Tokenizer::size() const { return static_cast<std::int64_t>(impl_->tokens.size()); }

const std::string& Tokenizer::token(std::int64_t id) const {
  if (id < 0 || id >= size() || !impl_->used[static_cast<std::size_t>(id)]) {
    throw std::out_of_range("token id " + std::to_string(id) + ": expected an id of the " +
                            std::to_string(size()) + " of the vocabulary");
  }
  return impl_->tokens[static_cast<std::size_t>(id)];
}

std::optional<std::int64_t> Tokenizer::id(std::string_view token) const {
  const auto found = impl_->ids.find(token);
  if (found == impl_->ids.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::is_special(std::int64_t id) const {
  if (!impl_->pieces) return impl_->added.is_special(id);
  return id >= 0 && id < size() && impl_->pieces->IsControl(static_cast<int>(id));
}

}  // namespace regard::text
