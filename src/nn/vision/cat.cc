// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/cat.h"

#include <stdexcept>

#include "nn/vision/cat_stage.h"
#include "nn/vision/image_configs.h"
#include "nn/vision/patches.h"

namespace regard::nn {

Cat::Cat(const CatConfig& config) : config_(cat_config(to_json(config))) {
  std::int64_t side = config_.image_size / config_.embedding;
  embedding_ = register_module("embedding",
                               patch_embedding(config_.channels, config_.dim, config_.embedding));
  positions_ = register_parameter("positions", drawn({1, side, side, config_.dim}));
  dropout_ = register_module("dropout", torch::nn::Dropout(config_.dropout));
  torch::nn::ModuleList stages;
  for (std::size_t i = 0; i < config_.depths.size(); ++i) {
    if (i > 0) side /= 2;
    stages_.push_back(std::make_shared<CatStage>(config_, i, side, /*halve=*/i > 0));
    stages->push_back(stages_.back());
  }
  register_module("stages", stages);
  const std::int64_t dim = config_.dim << (config_.depths.size() - 1);
  norm_ = register_module(
      "norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({dim}).eps(config_.norm_eps)));
  head_ = register_module("head",
                          torch::nn::Linear(dim, static_cast<std::int64_t>(config_.labels.size())));
}

Cat::~Cat() = default;

nlohmann::json Cat::config() const { return to_json(config_); }

std::vector<torch::Tensor> Cat::hidden_states(const torch::Tensor& pixels) {
  check_pixels(pixels);
  if (pixels.size(2) != image_size() || pixels.size(3) != image_size()) {
    throw std::invalid_argument("pixels: " + std::to_string(pixels.size(2)) + " x " +
                                std::to_string(pixels.size(3)) + "; expected " +
                                std::to_string(image_size()) + " x " +
                                std::to_string(image_size()) + ", the model's image_size");
  }
  const torch::Tensor map = embedding_->forward(pixels).permute({0, 2, 3, 1});
  std::vector<torch::Tensor> states{dropout_->forward(map + positions_)};
  for (const auto& stage : stages_) states.push_back(stage->forward(states.back()));
  return states;
}

torch::Tensor Cat::forward(const torch::Tensor& pixels) {
  return head_->forward(norm_->forward(hidden_states(pixels).back()).mean({1, 2}));
}

}  // namespace regard::nn
