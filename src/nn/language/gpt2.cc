// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/gpt2.h"

#include <cmath>

#include "nn/language/causal_layer.h"
#include "nn/language/gpt2_config.h"
#include "nn/modules/activation.h"

namespace regard::nn {
namespace {

torch::nn::LayerNorm layer_norm(const Gpt2Config& config) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.dim}).eps(config.norm_eps));
}

// x + attention(LayerNorm(x)), then x + feed_forward(LayerNorm(x)).
class Gpt2Layer : public CausalLayer {
 public:
  Gpt2Layer(const Gpt2Config& config, std::int64_t number) : config_(config) {
    // What is added to x as often as there are layers is drawn that much smaller, as the paper
    // has it.
    const double added = 0.02 / std::sqrt(2.0 * static_cast<double>(config.layers));
    norm1_ = register_module("norm1", layer_norm(config));
    in_proj_ = drawn("in_proj", config.dim, 3 * config.dim, 0.02);
    out_proj_ = drawn("out_proj", config.dim, config.dim, added);
    norm2_ = register_module("norm2", layer_norm(config));
    linear1_ = drawn("linear1", config.dim, config.feed_forward, 0.02);
    linear2_ = drawn("linear2", config.feed_forward, config.dim, added);
    attention_dropout_ = config.attention_dropout;
    double scale = 1;
    if (config.scale_scores) scale /= std::sqrt(static_cast<double>(config.dim / config.heads));
    if (config.scale_layers) scale /= static_cast<double>(number + 1);
    scale_ = scale;
  }

 protected:
  Projected project(const torch::Tensor& x, const RotaryAngles&) override {
    const auto parts = in_proj_->forward(norm1_->forward(x))
                           .unflatten(-1, {3, config_.heads, config_.dim / config_.heads})
                           .unbind(-3);
    return {parts[0], parts[1], parts[2]};
  }
  torch::Tensor finish(const torch::Tensor& x, const torch::Tensor& attended) override {
    const torch::Tensor y = x + dropped(out_proj_->forward(attended.flatten(-2)));
    const torch::Tensor wide = linear1_->forward(norm2_->forward(y));
    return y + dropped(linear2_->forward(activate(wide, config_.activation)));
  }

 private:
  torch::nn::Linear drawn(const char* name, std::int64_t in, std::int64_t out, double deviation) {
    torch::nn::Linear made = register_module(name, torch::nn::Linear(in, out));
    torch::nn::init::normal_(made->weight, 0, deviation);
    torch::nn::init::zeros_(made->bias);
    return made;
  }
  torch::Tensor dropped(const torch::Tensor& x) const {
    return torch::dropout(x, config_.dropout, is_training());
  }

  Gpt2Config config_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear in_proj_{nullptr}, out_proj_{nullptr}, linear1_{nullptr}, linear2_{nullptr};
};

}  // namespace

Gpt2::Gpt2(const Gpt2Config& config) : config_(gpt2_config(to_json(config))) {
  std::vector<std::shared_ptr<CausalLayer>> layers;
  for (std::int64_t i = 0; i < config_.layers; ++i)
    layers.push_back(std::make_shared<Gpt2Layer>(config_, i));
  build({config_.vocab, config_.dim, config_.heads, config_.dim / config_.heads,
         config_.max_positions},
        config_.tied, std::move(layers));
  positions_ =
      register_module("positions", torch::nn::Embedding(config_.max_positions, config_.dim));
  torch::nn::init::normal_(positions_->weight, 0, 0.02);
  norm_ = register_module("norm", layer_norm(config_));
}

nlohmann::json Gpt2::config() const { return to_json(config_); }

torch::Tensor Gpt2::embed(const torch::Tensor& tokens, const torch::Tensor& positions) {
  return torch::dropout(embedding_->forward(tokens) + positions_->forward(positions),
                        config_.embedding_dropout, is_training());
}

RotaryAngles Gpt2::angles(const torch::Tensor&) const { return {}; }

torch::Tensor Gpt2::normalize(const torch::Tensor& x) { return norm_->forward(x); }

}  // namespace regard::nn
