// SPDX-License-Identifier: Apache-2.0
// SentencePiece's own code over a vocabulary with scores that came without its file.
#include <sentencepiece_processor.h>

#include <bit>
#include <cmath>
#include <stdexcept>

#include "tokenizers/model.h"

namespace regard::text {
namespace {

// A message of protocol buffers, in their wire format
// (https://protobuf.dev/programming-guides/encoding): of each field its number with a kind, then
// what it holds.
class Message {
 public:
  Message& number(std::uint32_t field, std::uint64_t value) {
    varint(field << 3);
    varint(value);
    return *this;
  }
  Message& real(std::uint32_t field, float value) {
    varint(field << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(bits >> shift & 255);
    return *this;
  }
  Message& bytes(std::uint32_t field, const std::string& value) {
    varint(field << 3 | 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& all() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>((value & 127) | 128);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

// sentencepiece_model.proto: of a ModelProto pieces are field 1, the trainer's settings 2, the
// normalizer's 3.
std::string model_proto(const Json& settings) {
  constexpr std::uint64_t kBpe = 2;
  Message model;
  std::size_t number = 0;
  for (const Json& one : settings.at("pieces")) {
    const auto score = one.at(1).get<double>();
    if (!std::isfinite(score)) {
      throw std::runtime_error("the score of token " + std::to_string(number) + " is not a number");
    }
    const auto type = one.at(2).get<std::uint64_t>();
    model.bytes(1, Message()
                       .bytes(1, one.at(0).get_ref<const std::string&>())
                       .real(2, static_cast<float>(score))
                       .number(3, type)
                       .all());
    ++number;
  }
  const bool has_bytes = setting(settings, "byte_fallback", false);
  model.bytes(2, Message().number(3, kBpe).number(35, has_bytes ? 1 : 0).all());
  const bool blank_before = setting(settings, "add_dummy_prefix", true);
  model.bytes(3, Message().bytes(1, "identity").number(3, blank_before ? 1 : 0).number(4, 0).all());
  return model.all();
}

class SentencePieces : public Model {
 public:
  explicit SentencePieces(const Json& settings) {
    const auto status = pieces_.LoadFromSerializedProto(model_proto(settings));
    if (!status.ok()) throw std::runtime_error("SentencePiece: " + status.ToString());
    for (int id = 0; id < pieces_.GetPieceSize(); ++id) {
      vocabulary_.emplace(pieces_.IdToPiece(id), id);
    }
  }

  void encode(std::string_view text, std::vector<std::int64_t>& ids) const override {
    std::vector<int> found;
    const auto status = pieces_.Encode({text.data(), text.size()}, &found);
    if (!status.ok()) throw std::runtime_error("SentencePiece: " + status.ToString());
    ids.insert(ids.end(), found.begin(), found.end());
  }

 private:
  sentencepiece::SentencePieceProcessor pieces_;
};

}  // namespace

std::unique_ptr<Model> make_sentence_pieces(const Json& settings) {
  return std::make_unique<SentencePieces>(settings);
}

}  // namespace regard::text
