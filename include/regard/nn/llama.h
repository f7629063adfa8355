// SPDX-License-Identifier: Apache-2.0
// Llama (Touvron et al. 2023, arXiv 2302.13971; GQA as in Llama 2, arXiv 2307.09288): a
// decoder-only language model with rotary positions, RMSNorm and gated feed-forward layers. Covers
// SmolLM2.
//
// As a SequenceModel it continues its source: features() reads source and target one after the
// other and gives what follows each target token; start() reads the source as a prompt. A source of
// no columns, (batch, 0), is none: plain language modelling.
//
// As JSON ({"kind": "llama", ...}) the config's keys are the names of LlamaConfig's fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "regard/nn/rotary.h"
#include "regard/nn/sequence_model.h"

namespace regard::nn {

struct LlamaConfig {
  std::int64_t vocab = 0;
  std::int64_t dim = 576;
  std::int64_t heads = 9, kv_heads = 0;  // kv_heads 0: as many as heads
  std::int64_t head_dim = 0;             // 0: dim / heads
  std::int64_t feed_forward = 1536;
  std::int64_t layers = 30;
  double norm_eps = 1e-5;
  RotaryOptions rotary;  // JSON: rope_theta, rope_type, rope_factor, ...
  bool tied = true;      // the output's weights are the embedding's
  bool attention_bias = false;
  std::string activation = "silu";
};

class LlamaLayer;

class Llama : public SequenceModel {
 public:
  explicit Llama(const LlamaConfig& config);
  ~Llama() override;

  std::string kind() const override { return "llama"; }
  nlohmann::json config() const override;
  torch::Tensor features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                         const torch::Tensor& target_in) override;
  torch::Tensor logits(const torch::Tensor& features) override;
  std::vector<torch::Tensor> output_parameters() const override;
  std::unique_ptr<DecodingState> start(const torch::Tensor& source,
                                       const torch::Tensor& source_lengths,
                                       std::int64_t max_length) override;
  // The prompt's last token of each row.
  torch::Tensor first_tokens(const torch::Tensor& source,
                             const torch::Tensor& source_lengths) const override;
  torch::Tensor step(DecodingState& state, const torch::Tensor& tokens) override;
  // std::logic_error: a decoder-only model has no attention to a source.
  torch::Tensor attention_weights(DecodingState& state) override;
  torch::Tensor alignment(const torch::Tensor& source, const torch::Tensor& source_lengths,
                          const torch::Tensor& target_in) override;

  // tokens (batch, len) -> layers + 1 tensors (batch, len, dim): the embedded tokens, and what each
  // layer gives, the last one normalized, as transformers' `hidden_states` has them.
  std::vector<torch::Tensor> hidden_states(const torch::Tensor& tokens);

 private:
  LlamaConfig config_;
  torch::nn::Embedding embedding_{nullptr};
  std::vector<std::shared_ptr<LlamaLayer>> layers_;
  torch::Tensor norm_, output_weight_;
};

}  // namespace regard::nn
