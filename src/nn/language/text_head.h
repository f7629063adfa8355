// SPDX-License-Identifier: Apache-2.0
// The heads of encoders, by TextEncoderConfig::head.
#pragma once

#include <torch/torch.h>

#include "regard/nn/text_encoder.h"

namespace regard::nn {

class TextHead : public torch::nn::Module {
 public:
  // `first_token`: a "sequence" head with a dense layer of its own.
  TextHead(const TextEncoderConfig& config, bool first_token);

  // x: hidden states (..., dim), of a "sequence" head the first tokens' or what the pooler made of
  // them (batch, dim). `embedding` (vocab, dim) is a "masked-lm" head's output layer.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& embedding);
  bool reads_pooler() const { return kind_ == "sequence" && !dense_; }

 private:
  torch::Tensor dropped(const torch::Tensor& x) const;

  std::string kind_, activation_;
  double dropout_;
  torch::nn::Linear dense_{nullptr}, output_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
  torch::Tensor bias_;
};

}  // namespace regard::nn
