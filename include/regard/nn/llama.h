// SPDX-License-Identifier: Apache-2.0
// Llama (Touvron et al. 2023, arXiv 2302.13971; GQA as in Llama 2, arXiv 2307.09288): a
// decoder-only language model with rotary positions, RMSNorm and gated feed-forward layers. Covers
// SmolLM2.
//
// As JSON ({"kind": "llama", ...}) the config's keys are the names of LlamaConfig's fields.
#pragma once

#include <cstdint>
#include <string>

#include "regard/nn/causal_lm.h"
#include "regard/nn/rotary.h"

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

class Llama : public CausalLM {
 public:
  explicit Llama(const LlamaConfig& config);

  std::string kind() const override { return "llama"; }
  nlohmann::json config() const override;

 protected:
  torch::Tensor embed(const torch::Tensor& tokens, const torch::Tensor& positions) override;
  RotaryAngles angles(const torch::Tensor& positions) const override;
  torch::Tensor normalize(const torch::Tensor& x) override;

 private:
  LlamaConfig config_;
  torch::Tensor frequencies_;  // of the rotary positions, float32
  torch::Tensor norm_;
};

}  // namespace regard::nn
