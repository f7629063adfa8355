// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/text_encoder.h"

#include <sstream>
#include <stdexcept>

#include "nn/language/encoder_layer.h"
#include "nn/language/packing.h"
#include "nn/language/text_head.h"
#include "nn/models/check_tokens.h"

namespace regard::nn {
namespace {

torch::nn::Embedding drawn_embedding(std::int64_t count, std::int64_t dim) {
  torch::nn::Embedding made(count, dim);
  torch::nn::init::normal_(made->weight, 0, 0.02);
  return made;
}

void check_shape(const char* name, const torch::Tensor& x, const torch::Tensor& tokens) {
  if (x.sizes() == tokens.sizes()) return;
  std::ostringstream text;
  text << name << ": " << x.sizes() << "; expected the shape of tokens, " << tokens.sizes();
  throw std::invalid_argument(text.str());
}

// The hidden states of each text's first token, (batch, dim).
torch::Tensor first_tokens_of(const torch::Tensor& hidden, const TextInput& input) {
  const torch::Tensor mask = text_mask(input);
  if (!mask.defined()) return hidden.select(1, 0);
  return hidden.index({torch::arange(hidden.size(0)), mask.to(torch::kInt64).argmax(1)});
}

// Of a bool (batch, len), or none where there is no mask or no token in it.
std::optional<GlobalTokens> some_global_tokens(const torch::Tensor& mask, const Packing& packing) {
  if (!mask.defined()) return {};
  GlobalTokens globals = global_tokens_of(mask, packing);
  if (globals.most == 0) return {};
  return globals;
}

}  // namespace

TextEncoder::~TextEncoder() = default;

void TextEncoder::build(const TextEncoderConfig& config, bool first_token_head,
                        std::vector<std::shared_ptr<EncoderLayer>> layers) {
  text_ = config;
  layers_ = std::move(layers);
  embedding_ = register_module("embedding", drawn_embedding(config.vocab, config.dim));
  positions_ = register_module("positions", drawn_embedding(config.max_positions, config.dim));
  segments_ = register_module("segments", drawn_embedding(config.segments, config.dim));
  norm_ = register_module("norm", layer_norm(config));
  torch::nn::ModuleList list;
  for (const auto& layer : layers_) list->push_back(layer);
  register_module("layers", list);
  if (config.pooler) pooler_ = register_module("pooler", drawn_linear(config.dim, config.dim));
  if (config.head == "none") return;
  head_ = std::make_shared<TextHead>(config, first_token_head);
  register_module("head", head_);
}

std::int64_t TextEncoder::max_length() const {
  return text_.max_positions - (text_.positions == "after-pad" ? text_.pad_token + 1 : 0);
}

torch::Tensor TextEncoder::global_mask(const TextInput& input) const {
  if (input.global.defined())
    throw std::invalid_argument("global: given to a " + kind() + ", which has no global tokens");
  return {};
}

torch::Tensor TextEncoder::embed(const TextInput& input, const Packing& packing) {
  const torch::Tensor tokens = packing.pack(input.tokens);
  torch::Tensor positions;
  if (text_.positions == "absolute") {
    positions = torch::arange(packing.len, torch::kInt64).expand({packing.batch, -1});
  } else {
    const torch::Tensor counted = input.tokens.ne(text_.pad_token).to(torch::kInt64);
    positions = counted.cumsum(1) * counted + text_.pad_token;
  }
  torch::Tensor x = embedding_->forward(tokens) + positions_->forward(packing.pack(positions));
  if (input.segments.defined())
    x = x + segments_->forward(packing.pack(input.segments));
  else
    x = x + segments_->weight[0];
  return torch::dropout(norm_->forward(x), text_.dropout, is_training());
}

torch::Tensor TextEncoder::run(const TextInput& input, std::vector<torch::Tensor>* states) {
  check_tokens("tokens", input.tokens, text_.vocab);
  if (input.tokens.size(1) > max_length())
    throw std::invalid_argument("tokens: " + std::to_string(input.tokens.size(1)) +
                                " in a row; the model has positions for " +
                                std::to_string(max_length()));
  if (input.segments.defined()) {
    check_tokens("segments", input.segments, text_.segments);
    check_shape("segments", input.segments, input.tokens);
  }
  const Packing packing = packing_of(input);
  const torch::Tensor global = global_mask(input);
  if (global.defined()) check_shape("global", global, input.tokens);
  LayerReading reading{packing, some_global_tokens(global, packing), packing.apart(), {}, {}};
  torch::Tensor x = embed(input, packing);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (states != nullptr) states->push_back(packing.unpack(x));
    prepare(i, reading);
    x = run_layer(*layers_[i], x, [layer = layers_[i], reading](const torch::Tensor& y) {
      return layer->forward(y, reading);
    });
  }
  return packing.unpack(x);
}

torch::Tensor TextEncoder::encode(const TextInput& input) { return run(input, nullptr); }

std::vector<torch::Tensor> TextEncoder::hidden_states(const TextInput& input) {
  std::vector<torch::Tensor> states;
  torch::Tensor last = run(input, &states);
  states.push_back(std::move(last));
  return states;
}

torch::Tensor TextEncoder::attention_map(const TextInput& input, std::int64_t layer) {
  torch::NoGradGuard no_grad;
  if (layer < 0 || layer >= layers())
    throw std::invalid_argument("layer: " + std::to_string(layer) + "; the model has " +
                                std::to_string(layers()));
  const torch::Tensor x = hidden_states(input)[layer];
  // Computed in rows with their padding, which is then cleared.
  const Packing rows = packing_of({input.tokens, {}, {}, {}});
  const torch::Tensor text = text_mask(input);
  torch::Tensor global = global_mask(input);
  if (global.defined() && text.defined()) global = global & text;
  LayerReading reading{rows, some_global_tokens(global, rows), {}, {}, {}};
  if (text.defined()) reading.text = tensor_mask(text.unsqueeze(1).unsqueeze(1));
  prepare(static_cast<std::size_t>(layer), reading);
  const torch::Tensor weights = layers_[layer]->weights(x.flatten(0, 1), reading);
  return text.defined() ? weights * text.unsqueeze(1).unsqueeze(-1) : weights;
}

torch::Tensor TextEncoder::pooled(const torch::Tensor& hidden, const TextInput& input) {
  if (!pooler_) throw std::logic_error(kind() + ": the model has no pooler");
  return torch::tanh(pooler_->forward(first_tokens_of(hidden, input)));
}

torch::Tensor TextEncoder::mean(const torch::Tensor& hidden, const TextInput& input) {
  const torch::Tensor mask = text_mask(input);
  if (!mask.defined()) return hidden.mean(1);
  const torch::Tensor weights = mask.to(hidden.scalar_type()).unsqueeze(-1);
  return (hidden * weights).sum(1) / weights.sum(1);
}

torch::Tensor TextEncoder::logits(const torch::Tensor& hidden, const TextInput& input) {
  if (head_ == nullptr) throw std::logic_error(kind() + ": the model has no head");
  if (text_.head != "sequence") return head_->forward(hidden, embedding_->weight);
  const bool first_token = !head_->reads_pooler();
  return head_->forward(first_token ? first_tokens_of(hidden, input) : pooled(hidden, input), {});
}

torch::Tensor TextEncoder::word_logits(const torch::Tensor& rows) {
  if (head_ == nullptr || text_.head != "masked-lm")
    throw std::logic_error(kind() + ": the model has no \"masked-lm\" head");
  return head_->forward(rows, embedding_->weight);
}

torch::Tensor TextEncoder::forward(const TextInput& input) { return logits(encode(input), input); }

}  // namespace regard::nn
