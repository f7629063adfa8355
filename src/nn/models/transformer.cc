// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/transformer.h"

#include <cmath>
#include <stdexcept>

#include "nn/models/check_tokens.h"
#include "nn/models/hypotheses.h"
#include "nn/models/transformer_config.h"

namespace regard::nn {
namespace {

TransformerStackOptions stack_options(const TransformerConfig& config, std::int64_t layers) {
  TransformerStackOptions options;
  options.layer = {config.dim,           config.heads,      config.kv_heads, config.feed_forward,
                   config.norm == "pre", config.activation, config.dropout,  config.norm_eps};
  options.layers = layers;
  options.final_norm =
      config.final_norm == "yes" || (config.final_norm == "auto" && config.norm == "pre");
  return options;
}

std::shared_ptr<PositionalEncodingImpl> positions_of(const TransformerConfig& config) {
  if (config.positions == "learned")
    return PositionalEncodingImpl::learned(config.max_positions, config.dim);
  return PositionalEncodingImpl::sinusoidal(config.dim, config.positions == "sinusoidal"
                                                            ? SinusoidOrder::kInterleaved
                                                            : SinusoidOrder::kHalves);
}

// Drawn so that embedded tokens have elements of about 1, and logits of tied weights, too.
torch::nn::Embedding embedding_of(std::int64_t vocabulary, const TransformerConfig& config) {
  torch::nn::Embedding made(torch::nn::EmbeddingOptions(vocabulary, config.dim));
  torch::NoGradGuard no_grad;
  if (config.scale_embedding) made->weight.mul_(1 / std::sqrt(static_cast<double>(config.dim)));
  return made;
}

struct TransformerState final : DecodingState {
  TransformerState(TransformerDecoderState begun, torch::Tensor source_lengths)
      : decoder(std::move(begun)),
        lengths(std::move(source_lengths)),
        hypotheses(lengths.size(0)) {}

  std::int64_t rows() const override { return hypotheses.rows(); }
  std::int64_t position() const override { return decoder.caches[0].length; }
  void reorder(const torch::Tensor& rows) override {
    torch::NoGradGuard no_grad;
    const torch::Tensor memory = hypotheses.reorder(rows);
    decoder.width = hypotheses.width();
    for (KeyValueCache& cache : decoder.caches) cache.reorder(rows);
    if (decoder.looked.defined()) {
      const std::int64_t dim = decoder.looked.size(-1);
      decoder.looked =
          decoder.looked.reshape({-1, dim}).index_select(0, rows).reshape({-1, decoder.width, dim});
    }
    if (!memory.defined()) return;
    for (KeyValues& each : decoder.memories) each = each.select(memory);
    lengths = lengths.index_select(0, memory);
    decoder.memory_mask = key_lengths(lengths);
  }

  TransformerDecoderState decoder;
  torch::Tensor lengths;
  Hypotheses hypotheses;
};

TransformerState& transformer_state(DecodingState& state) {
  auto* mine = dynamic_cast<TransformerState*>(&state);
  if (mine == nullptr) throw std::invalid_argument("state: of another kind of model");
  return *mine;
}

}  // namespace

Transformer::Transformer(const TransformerConfig& config)
    : config_(transformer_config(to_json(config))) {
  source_embedding_ =
      register_module("source_embedding", embedding_of(config.source_vocab, config));
  target_embedding_ =
      config.tied == "all"
          ? source_embedding_
          : register_module("target_embedding", embedding_of(config.target_vocab, config));
  source_positions_ = PositionalEncoding(positions_of(config));
  target_positions_ = PositionalEncoding(positions_of(config));
  register_module("source_positions", source_positions_);
  register_module("target_positions", target_positions_);
  const TransformerStackOptions encoder = stack_options(config, config.encoder_layers);
  if (config.embedding_norm) {
    const auto norm = [&] {
      return torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.dim}).eps(config.norm_eps));
    };
    source_norm_ = register_module("source_norm", norm());
    target_norm_ = register_module("target_norm", norm());
  }
  dropout_ = register_module("dropout", torch::nn::Dropout(config.dropout));
  encoder_ = register_module("encoder", TransformerEncoder(encoder));
  decoder_ =
      register_module("decoder", TransformerDecoder(stack_options(config, config.decoder_layers)));
  if (config.tied == "none") {
    output_weight_ =
        register_parameter("output_weight", torch::empty({config.target_vocab, config.dim}));
    torch::nn::init::xavier_uniform_(output_weight_);
  } else {
    output_weight_ = target_embedding_->weight;
  }
  if (config.output_bias)
    output_bias_ = register_parameter("output_bias", torch::zeros({config.target_vocab}));
}

nlohmann::json Transformer::config() const { return to_json(config_); }

torch::Tensor Transformer::embed_source(const torch::Tensor& tokens) {
  torch::Tensor x = source_embedding_->forward(tokens);
  if (config_.scale_embedding) x = x * std::sqrt(static_cast<double>(config_.dim));
  x = source_positions_->forward(x);
  return dropout_->forward(source_norm_ ? source_norm_->forward(x) : x);
}

torch::Tensor Transformer::embed_target(const torch::Tensor& tokens, std::int64_t first) {
  torch::Tensor x = target_embedding_->forward(tokens);
  if (config_.scale_embedding) x = x * std::sqrt(static_cast<double>(config_.dim));
  x = target_positions_->forward(x, first);
  return dropout_->forward(target_norm_ ? target_norm_->forward(x) : x);
}

torch::Tensor Transformer::encode(const torch::Tensor& source,
                                  const torch::Tensor& source_lengths) {
  check_source(source, source_lengths, config_.source_vocab);
  return encoder_->forward(embed_source(source), key_lengths(source_lengths));
}

torch::Tensor Transformer::features(const torch::Tensor& source,
                                    const torch::Tensor& source_lengths,
                                    const torch::Tensor& target_in) {
  const torch::Tensor encoded = encode(source, source_lengths);
  check_target(target_in, source.size(0), config_.target_vocab);
  return decoder_->forward(embed_target(target_in, 0), encoded, key_lengths(source_lengths));
}

torch::Tensor Transformer::logits(const torch::Tensor& features) {
  return torch::linear(features, output_weight_, output_bias_);
}

std::vector<torch::Tensor> Transformer::output_parameters() const {
  if (!output_bias_.defined()) return {output_weight_};
  return {output_weight_, output_bias_};
}

torch::Tensor Transformer::first_tokens(const torch::Tensor& source, const torch::Tensor&) const {
  return torch::full({source.size(0)}, config_.first_token, torch::kInt64);
}

std::unique_ptr<DecodingState> Transformer::start(const torch::Tensor& source,
                                                  const torch::Tensor& source_lengths,
                                                  std::int64_t max_length) {
  torch::NoGradGuard no_grad;
  const torch::Tensor encoded = encode(source, source_lengths);
  return std::make_unique<TransformerState>(
      decoder_->begin(encoded, key_lengths(source_lengths), max_length), source_lengths);
}

torch::Tensor Transformer::step(DecodingState& state, const torch::Tensor& tokens) {
  torch::NoGradGuard no_grad;
  TransformerState& mine = transformer_state(state);
  check_step(tokens, mine.rows(), mine.position(), mine.decoder.caches[0].max_length(),
             config_.target_vocab);
  const torch::Tensor x = embed_target(tokens.unsqueeze(1), mine.position());
  return logits(decoder_->step(x, mine.decoder)).squeeze(1);
}

torch::Tensor Transformer::attention_weights(DecodingState& state) {
  torch::NoGradGuard no_grad;
  return decoder_->step_weights(transformer_state(state).decoder);
}

torch::Tensor Transformer::alignment(const torch::Tensor& source,
                                     const torch::Tensor& source_lengths,
                                     const torch::Tensor& target_in) {
  torch::NoGradGuard no_grad;
  const torch::Tensor encoded = encode(source, source_lengths);
  check_target(target_in, source.size(0), config_.target_vocab);
  return decoder_->weights(embed_target(target_in, 0), encoded, key_lengths(source_lengths));
}

}  // namespace regard::nn
