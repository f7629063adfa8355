// SPDX-License-Identifier: Apache-2.0
// CrossViT (Chen, Fan and Panda 2021, arXiv 2103.14899): two branches with patches of two sizes.
// In each block both run encoder layers of their own; then the class token of each branch, brought
// to the other's width, queries the other's patches. The logits are the mean of the two branches'.
//
// As JSON ({"kind": "crossvit", ...}) the config's keys are the names of CrossVitConfig's fields.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "regard/nn/image_classifier.h"
#include "regard/nn/transformer_layers.h"

namespace regard::nn {

struct CrossVitConfig {
  // Of each branch, in the order small patches, large patches. An image is resized (bicubic) to
  // image_sizes, of which the first is what images have; patches divide it.
  std::vector<std::int64_t> image_sizes = {240, 224}, patches = {12, 16};
  std::vector<std::int64_t> dims = {192, 384}, heads = {6, 6}, feed_forwards = {576, 1152};
  std::vector<std::int64_t> layers = {1, 4};  // encoder layers in a block
  std::int64_t blocks = 3;
  std::int64_t channels = 3;
  double norm_eps = 1e-6;
  double dropout = 0;
  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};
};

class CrossVitBlock;

class CrossVit : public ImageClassifier {
 public:
  explicit CrossVit(const CrossVitConfig& config);
  ~CrossVit() override;

  std::string kind() const override { return "crossvit"; }
  nlohmann::json config() const override;

  torch::Tensor forward(const torch::Tensor& pixels) override;
  const std::vector<std::string>& labels() const override { return config_.labels; }
  std::int64_t image_size() const override { return config_.image_sizes[0]; }
  std::int64_t channels() const override { return config_.channels; }
  // Of both branches, at the finer one's patches.
  torch::Tensor rollout(const torch::Tensor& pixels) override;

  // blocks + 1 pairs of (batch, 1 + patches, dim), not normalized: what the blocks get and give.
  using Branches = std::array<torch::Tensor, 2>;
  std::vector<Branches> hidden_states(const torch::Tensor& pixels);

 private:
  Branches embed(const torch::Tensor& pixels);

  CrossVitConfig config_;
  std::vector<torch::nn::Conv2d> patches_;
  std::array<torch::Tensor, 2> cls_tokens_, positions_;
  torch::nn::Dropout dropout_{nullptr};
  std::vector<std::shared_ptr<CrossVitBlock>> blocks_;
  std::vector<torch::nn::LayerNorm> norms_;
  std::vector<torch::nn::Linear> heads_;
};

}  // namespace regard::nn
