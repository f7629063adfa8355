// SPDX-License-Identifier: Apache-2.0
// A layer of an encoder: LayerNorm(x + attention(x)), then LayerNorm(x + feed_forward(x)).
#pragma once

#include <torch/torch.h>

#include "nn/language/packing.h"

namespace regard::nn {

class EncoderLayer : public torch::nn::Module {
 public:
  explicit EncoderLayer(const TextEncoderConfig& config);

  // x (total, dim), packed as the reading says.
  torch::Tensor forward(const torch::Tensor& x, const LayerReading& reading);
  // The weights of the attention, (batch, heads, len, len), of a batch that is whole.
  virtual torch::Tensor weights(const torch::Tensor& x, const LayerReading& reading);

 protected:
  // What the heads give, side by side: (total, dim).
  virtual torch::Tensor attend(const torch::Tensor& x, const LayerReading& reading);

  std::int64_t dim_, heads_;
  double attention_dropout_;

 private:
  std::vector<torch::Tensor> project(const torch::Tensor& x, const Packing& packing);

  double dropout_;
  std::string activation_;
  torch::nn::Linear in_proj_{nullptr}, out_proj_{nullptr}, linear1_{nullptr}, linear2_{nullptr};
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
};

// As these papers draw their weights: a normal distribution of 0.02, biases 0.
torch::nn::Linear drawn_linear(std::int64_t in, std::int64_t out);
torch::nn::LayerNorm layer_norm(const TextEncoderConfig& config);

}  // namespace regard::nn
