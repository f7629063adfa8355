// SPDX-License-Identifier: Apache-2.0
// The Transformer of Vaswani et al. 2017 (arXiv 1706.03762), encoder and decoder, pre- or
// post-norm, with tied embeddings; general enough for the weights of its descendants (Marian,
// BART).
//
// As JSON ({"kind": "transformer", ...}) the config's keys are the names of TransformerConfig's
// fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "regard/nn/positional_encoding.h"
#include "regard/nn/sequence_model.h"
#include "regard/nn/transformer_layers.h"

namespace regard::nn {

struct TransformerConfig {
  std::int64_t source_vocab = 0, target_vocab = 0;
  std::int64_t dim = 256;
  std::int64_t heads = 4, kv_heads = 0;  // kv_heads 0: as many as heads
  std::int64_t feed_forward = 1024;
  std::int64_t encoder_layers = 3, decoder_layers = 3;
  std::string norm = "pre";         // or "post"
  std::string activation = "relu";  // or "gelu", "gelu_tanh", "silu"
  double dropout = 0.1;
  double norm_eps = 1e-5;
  // A LayerNorm after each stack ("yes", "no", or "auto": where norm is "pre"), and one after each
  // embedding (BART).
  std::string final_norm = "auto";
  bool embedding_norm = false;
  // "sinusoidal", "sinusoidal-halves" (all sines before all cosines) or "learned".
  std::string positions = "sinusoidal";
  std::int64_t max_positions = 1024;  // learned positions: the longest sequence
  bool scale_embedding = true;        // embeddings are multiplied by sqrt(dim)
  // Which embeddings and output weights are one matrix: "all" (one vocabulary for both languages),
  // "target" (the target's embedding and the output) or "none".
  std::string tied = "target";
  bool output_bias = true;
  std::int64_t first_token = kBegin;  // what a target starts with
};

class Transformer : public SequenceModel {
 public:
  explicit Transformer(const TransformerConfig& config);

  std::string kind() const override { return "transformer"; }
  nlohmann::json config() const override;
  torch::Tensor features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                         const torch::Tensor& target_in) override;
  torch::Tensor logits(const torch::Tensor& features) override;
  std::vector<torch::Tensor> output_parameters() const override;
  std::unique_ptr<DecodingState> start(const torch::Tensor& source,
                                       const torch::Tensor& source_lengths,
                                       std::int64_t max_length) override;
  torch::Tensor first_tokens(const torch::Tensor& source,
                             const torch::Tensor& source_lengths) const override;
  torch::Tensor step(DecodingState& state, const torch::Tensor& tokens) override;
  // Of the last layer's cross-attention.
  torch::Tensor attention_weights(DecodingState& state) override;
  torch::Tensor alignment(const torch::Tensor& source, const torch::Tensor& source_lengths,
                          const torch::Tensor& target_in) override;

 private:
  torch::Tensor embed_source(const torch::Tensor& tokens);
  torch::Tensor embed_target(const torch::Tensor& tokens, std::int64_t first);
  torch::Tensor encode(const torch::Tensor& source, const torch::Tensor& source_lengths);

  TransformerConfig config_;
  torch::nn::Embedding source_embedding_{nullptr}, target_embedding_{nullptr};
  PositionalEncoding source_positions_{nullptr}, target_positions_{nullptr};
  torch::nn::LayerNorm source_norm_{nullptr}, target_norm_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
  TransformerEncoder encoder_{nullptr};
  TransformerDecoder decoder_{nullptr};
  torch::Tensor output_weight_, output_bias_;
};

}  // namespace regard::nn
