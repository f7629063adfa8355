// SPDX-License-Identifier: Apache-2.0
// CAT, Cross Attention in Vision Transformer (Lin et al. 2021, arXiv 2106.05786). A feature map is
// cut into patches; attention goes inside each patch over its pixels (IPSA), then, for each channel
// by itself, across patches, each a token of patch x patch numbers (CPSA), then inside patches
// again:
//
//   y1 = x  + IPSA(LN(x))    y2 = y1 + MLP(LN(y1))
//   y3 = y2 + CPSA(LN(y2))   y4 = y3 + MLP(LN(y3))
//   y5 = y4 + IPSA(LN(y4))   y6 = y5 + MLP(LN(y5))
//
// IPSA has a learned bias for each pair of relative positions and head (Swin, arXiv 2103.14030),
// CPSA one head; positions are added once, to the embedded pixels. Between stages four pixels
// become one of twice the channels. The logits are of the mean over pixels.
//
// As JSON ({"kind": "cat", ...}) the config's keys are the names of CatConfig's fields.
#pragma once

#include <memory>
#include <vector>

#include "regard/nn/image_classifier.h"

namespace regard::nn {

struct CatConfig {
  std::int64_t image_size = 224, channels = 3;
  std::int64_t embedding = 4;  // pixels of the image, in a row, that become one of the first map
  std::int64_t patch = 7;      // pixels of a map in a row of a patch; at most the map
  std::int64_t dim = 64;       // channels of the first stage; each next one has twice as many
  std::vector<std::int64_t> depths = {1, 1, 3, 1};  // blocks of each stage
  std::vector<std::int64_t> heads = {2, 4, 8, 16};  // of IPSA
  std::int64_t mlp_ratio = 4;
  double norm_eps = 1e-5;
  double dropout = 0;
  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};
};

class CatStage;

class Cat : public ImageClassifier {
 public:
  explicit Cat(const CatConfig& config);
  ~Cat() override;

  std::string kind() const override { return "cat"; }
  nlohmann::json config() const override;

  torch::Tensor forward(const torch::Tensor& pixels) override;
  const std::vector<std::string>& labels() const override { return config_.labels; }
  std::int64_t image_size() const override { return config_.image_size; }
  std::int64_t channels() const override { return config_.channels; }

  // (batch, rows, columns, channels): the embedded pixels, then what each stage gives.
  std::vector<torch::Tensor> hidden_states(const torch::Tensor& pixels);

 private:
  CatConfig config_;
  torch::nn::Conv2d embedding_{nullptr};
  torch::Tensor positions_;
  torch::nn::Dropout dropout_{nullptr};
  std::vector<std::shared_ptr<CatStage>> stages_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear head_{nullptr};
};

}  // namespace regard::nn
