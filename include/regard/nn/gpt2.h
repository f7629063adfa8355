// SPDX-License-Identifier: Apache-2.0
// GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners"): a
// decoder-only language model with learned positions and LayerNorm before each part of a layer.
//
// As JSON ({"kind": "gpt2", ...}) the config's keys are the names of Gpt2Config's fields.
#pragma once

#include <cstdint>
#include <string>

#include "regard/nn/causal_lm.h"

namespace regard::nn {

struct Gpt2Config {
  std::int64_t vocab = 0;
  std::int64_t max_positions = 1024;
  std::int64_t dim = 768;
  std::int64_t heads = 12;
  std::int64_t feed_forward = 0;  // 0: 4 * dim
  std::int64_t layers = 12;
  double norm_eps = 1e-5;
  std::string activation = "gelu_tanh";
  bool tied = true;           // the output's weights are the embedding's
  bool scale_scores = true;   // by 1 / sqrt(dim / heads)
  bool scale_layers = false;  // and by 1 / (the layer's number, from 1)
  // Of embeddings, of what a layer adds, and of attention's weights, while training.
  double embedding_dropout = 0.1, dropout = 0.1, attention_dropout = 0.1;
};

class Gpt2 : public CausalLM {
 public:
  explicit Gpt2(const Gpt2Config& config);

  std::string kind() const override { return "gpt2"; }
  nlohmann::json config() const override;

 protected:
  torch::Tensor embed(const torch::Tensor& tokens, const torch::Tensor& positions) override;
  RotaryAngles angles(const torch::Tensor& positions) const override;
  torch::Tensor normalize(const torch::Tensor& x) override;

 private:
  Gpt2Config config_;
  torch::nn::Embedding positions_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
};

}  // namespace regard::nn
