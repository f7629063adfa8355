// SPDX-License-Identifier: Apache-2.0
// A layer of Longformer: that of an encoder, whose mask is the window and the global keys, and the
// rows of the global tokens anew, with projections of their own.
#pragma once

#include "nn/language/encoder_layer.h"

namespace regard::nn {

class LongformerLayer : public EncoderLayer {
 public:
  explicit LongformerLayer(const TextEncoderConfig& config);

  torch::Tensor weights(const torch::Tensor& x, const LayerReading& reading) override;

 protected:
  torch::Tensor attend(const torch::Tensor& x, const LayerReading& reading) override;

 private:
  // The rows of the global tokens, (count, dim).
  torch::Tensor few_rows(const torch::Tensor& x, const LayerReading& reading);
  torch::Tensor many_rows(const torch::Tensor& x, const LayerReading& reading);

  torch::nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr};
};

}  // namespace regard::nn
