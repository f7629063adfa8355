// SPDX-License-Identifier: Apache-2.0
// Models that say which class an image is of: what ViT (regard/nn/vit.h), CrossViT
// (regard/nn/crossvit.h) and CAT (regard/nn/cat.h) share.
//
//   auto model = regard::nn::open_model<regard::nn::ImageClassifier>("vit-base-patch16-224");
//   torch::Tensor pixels = regard::image::process(images, processor).values;
//   torch::Tensor logits = model->forward(pixels);
//
// Errors: std::invalid_argument names the argument, what it is and what was expected.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "regard/nn/model.h"

namespace regard::nn {

class ImageClassifier : public Model {
 public:
  static constexpr const char* kWhat = "a classifier of images";

  // pixels (batch, channels, height, width), as regard/image/processor.h makes them -> logits
  // (batch, labels). std::logic_error for a model without a head.
  virtual torch::Tensor forward(const torch::Tensor& pixels) = 0;

  virtual const std::vector<std::string>& labels() const = 0;
  virtual std::int64_t image_size() const = 0;  // height and width that it was made for
  virtual std::int64_t channels() const = 0;

  // Where in the image the class token's last state comes from, by attention rollout (Abnar and
  // Zuidema 2020, arXiv 2005.00928) from the engine's exact weights: (batch, rows, columns) of
  // patches; each map adds up to 1. std::logic_error for a model without a class token.
  virtual torch::Tensor rollout(const torch::Tensor& pixels);

 protected:
  // std::invalid_argument unless (batch, channels, height, width), floating.
  void check_pixels(const torch::Tensor& pixels) const;
};

}  // namespace regard::nn
