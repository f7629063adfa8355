// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/llama.h"

#include "nn/language/llama_config.h"
#include "nn/language/llama_layer.h"
#include "nn/modules/rms_norm.h"

namespace regard::nn {

Llama::Llama(const LlamaConfig& config)
    : config_(llama_config(to_json(config))),
      frequencies_(rotary_frequencies(config_.head_dim, config_.rotary)) {
  std::vector<std::shared_ptr<CausalLayer>> layers;
  for (std::int64_t i = 0; i < config_.layers; ++i)
    layers.push_back(std::make_shared<LlamaLayer>(config_));
  build({config_.vocab, config_.dim, config_.kv_heads, config_.head_dim}, config_.tied,
        std::move(layers));
  norm_ = register_parameter("norm_weight", torch::ones({config_.dim}));
}

nlohmann::json Llama::config() const { return to_json(config_); }

torch::Tensor Llama::embed(const torch::Tensor& tokens, const torch::Tensor&) {
  return embedding_->forward(tokens);
}

RotaryAngles Llama::angles(const torch::Tensor& positions) const {
  return rotary_angles(positions, frequencies_);
}

torch::Tensor Llama::normalize(const torch::Tensor& x) {
  return rms_norm(x, norm_, config_.norm_eps);
}

}  // namespace regard::nn
