// SPDX-License-Identifier: Apache-2.0
#include "nn/language/text_head.h"

#include "nn/language/encoder_layer.h"
#include "nn/modules/activation.h"

namespace regard::nn {

TextHead::TextHead(const TextEncoderConfig& config, bool first_token)
    : kind_(config.head),
      activation_(config.activation),
      dropout_(config.head_dropout < 0 ? config.dropout : config.head_dropout) {
  const auto labels = static_cast<std::int64_t>(config.labels.size());
  if (kind_ == "masked-lm") {
    dense_ = register_module("transform", drawn_linear(config.dim, config.dim));
    norm_ = register_module("norm", layer_norm(config));
    bias_ = register_parameter("bias", torch::zeros({config.vocab}));
  } else if (kind_ == "span") {
    output_ = register_module("span", drawn_linear(config.dim, 2));
  } else if (kind_ == "sequence" && first_token) {
    dense_ = register_module("dense", drawn_linear(config.dim, config.dim));
    output_ = register_module("output", drawn_linear(config.dim, labels));
  } else {
    output_ = register_module("classifier", drawn_linear(config.dim, labels));
  }
}

torch::Tensor TextHead::dropped(const torch::Tensor& x) const {
  return torch::dropout(x, dropout_, is_training());
}

torch::Tensor TextHead::forward(const torch::Tensor& x, const torch::Tensor& embedding) {
  if (kind_ == "masked-lm") {
    const torch::Tensor made = norm_->forward(activate(dense_->forward(x), activation_));
    return torch::linear(made, embedding, bias_);
  }
  if (kind_ == "span") return output_->forward(x);
  if (dense_) return output_->forward(dropped(torch::tanh(dense_->forward(dropped(x)))));
  return output_->forward(dropped(x));
}

}  // namespace regard::nn
