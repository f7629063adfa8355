// SPDX-License-Identifier: Apache-2.0
#include "nn/language/encoder_layer.h"

#include "nn/modules/activation.h"

namespace regard::nn {

torch::nn::Linear drawn_linear(std::int64_t in, std::int64_t out) {
  torch::nn::Linear made(in, out);
  torch::nn::init::normal_(made->weight, 0, 0.02);
  torch::nn::init::zeros_(made->bias);
  return made;
}

torch::nn::LayerNorm layer_norm(const TextEncoderConfig& config) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.dim}).eps(config.norm_eps));
}

EncoderLayer::EncoderLayer(const TextEncoderConfig& config)
    : dim_(config.dim),
      heads_(config.heads),
      attention_dropout_(config.attention_dropout),
      dropout_(config.dropout),
      activation_(config.activation) {
  in_proj_ = register_module("in_proj", drawn_linear(dim_, 3 * dim_));
  out_proj_ = register_module("out_proj", drawn_linear(dim_, dim_));
  norm1_ = register_module("norm1", layer_norm(config));
  linear1_ = register_module("linear1", drawn_linear(dim_, config.feed_forward));
  linear2_ = register_module("linear2", drawn_linear(config.feed_forward, dim_));
  norm2_ = register_module("norm2", layer_norm(config));
}

std::vector<torch::Tensor> EncoderLayer::project(const torch::Tensor& x, const Packing& packing) {
  return packing.as_heads(in_proj_->forward(x), 3 * heads_).split(heads_, -2);
}

torch::Tensor EncoderLayer::attend(const torch::Tensor& x, const LayerReading& reading) {
  const auto parts = project(x, reading.packing);
  AttentionOptions options;
  options.layout = reading.packing.layout();
  if (is_training()) options.dropout_p = attention_dropout_;
  const auto look = [&](const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value, const Seen& seen) {
    options.mask = seen.mask;
    options.plan = seen.plan;
    return attention(query, key, value, options).reshape({-1, dim_});
  };
  if (reading.by_text.empty()) return look(parts[0], parts[1], parts[2], reading.seen);
  options.layout = Layout::kBshd;
  std::vector<std::vector<torch::Tensor>> texts;
  for (const torch::Tensor& part : parts)
    texts.push_back(part.unsqueeze(0).split_with_sizes(reading.packing.lengths, 1));
  std::vector<torch::Tensor> made;
  for (std::size_t i = 0; i < reading.by_text.size(); ++i)
    made.push_back(look(texts[0][i], texts[1][i], texts[2][i], reading.by_text[i]));
  return torch::cat(made);
}

torch::Tensor EncoderLayer::forward(const torch::Tensor& x, const LayerReading& reading) {
  const auto dropped = [&](const torch::Tensor& y) {
    return torch::dropout(y, dropout_, is_training());
  };
  const torch::Tensor y = norm1_->forward(x + dropped(out_proj_->forward(attend(x, reading))));
  const torch::Tensor wide = activate(linear1_->forward(y), activation_);
  return norm2_->forward(y + dropped(linear2_->forward(wide)));
}

torch::Tensor EncoderLayer::weights(const torch::Tensor& x, const LayerReading& reading) {
  const auto parts = project(x, reading.packing);
  AttentionOptions options;
  options.layout = reading.packing.layout();
  options.mask = reading.seen.mask;
  return attention_map(parts[0], parts[1], options);
}

}  // namespace regard::nn
