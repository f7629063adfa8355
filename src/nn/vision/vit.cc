// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/vit.h"

#include <stdexcept>

#include "nn/vision/image_configs.h"
#include "nn/vision/patches.h"

namespace regard::nn {

Vit::Vit(const VitConfig& config) : config_(vit_config(to_json(config))) {
  const std::int64_t side = config_.image_size / config_.patch;
  patches_ =
      register_module("patches", patch_embedding(config_.channels, config_.dim, config_.patch));
  cls_token_ = register_parameter("cls_token", drawn({1, 1, config_.dim}));
  if (config_.distilled) {
    distillation_token_ = register_parameter("distillation_token", drawn({1, 1, config_.dim}));
  }
  positions_ =
      register_parameter("positions", drawn({1, side * side + special_tokens(), config_.dim}));
  dropout_ = register_module("dropout", torch::nn::Dropout(config_.dropout));
  TransformerLayerOptions options;
  options.dim = config_.dim;
  options.heads = config_.heads;
  options.feed_forward = config_.feed_forward;
  options.norm_first = true;
  options.activation = config_.activation;
  options.dropout = config_.dropout;
  options.norm_eps = config_.norm_eps;
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    layers_.emplace_back(options);
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  norm_ = register_module(
      "norm",
      torch::nn::LayerNorm(torch::nn::LayerNormOptions({config_.dim}).eps(config_.norm_eps)));
  if (config_.pooler) {
    pooler_ = register_module("pooler", torch::nn::Linear(config_.dim, config_.dim));
  }
  if (config_.head == "none") return;
  const auto head = register_module("head", std::make_shared<torch::nn::Module>("head"));
  const auto labels = static_cast<std::int64_t>(config_.labels.size());
  // By their names in transformers' class with a teacher, one is for each token.
  const bool teacher = config_.head == "teacher";
  classes_ =
      head->register_module(teacher ? "cls" : "classes", torch::nn::Linear(config_.dim, labels));
  if (teacher) {
    distillation_ = head->register_module("distillation", torch::nn::Linear(config_.dim, labels));
  }
}

nlohmann::json Vit::config() const { return to_json(config_); }

torch::Tensor Vit::positions_for(std::int64_t rows, std::int64_t columns) const {
  const std::int64_t side = config_.image_size / config_.patch, special = special_tokens();
  if (rows == side && columns == side) return positions_;
  const torch::Tensor grid =
      positions_.narrow(1, special, side * side).unflatten(1, {side, side}).permute({0, 3, 1, 2});
  const torch::Tensor other =
      at::upsample_bicubic2d(grid, {rows, columns}, /*align_corners=*/false);
  return torch::cat({positions_.narrow(1, 0, special), other.flatten(2).transpose(1, 2)}, 1);
}

torch::Tensor Vit::embed(const torch::Tensor& pixels) {
  check_pixels(pixels);
  const std::int64_t rows = pixels.size(2) / config_.patch,
                     columns = pixels.size(3) / config_.patch;
  if (rows < 1 || columns < 1) {
    throw std::invalid_argument("pixels: " + std::to_string(pixels.size(2)) + " x " +
                                std::to_string(pixels.size(3)) + "; expected at least a patch of " +
                                std::to_string(config_.patch));
  }
  std::vector<torch::Tensor> tokens{cls_token_.expand({pixels.size(0), -1, -1})};
  if (config_.distilled) tokens.push_back(distillation_token_.expand({pixels.size(0), -1, -1}));
  tokens.push_back(patches_->forward(pixels).flatten(2).transpose(1, 2));
  return dropout_->forward(torch::cat(tokens, 1) + positions_for(rows, columns));
}

torch::Tensor Vit::run(const TransformerEncoderLayer& layer, const torch::Tensor& x) const {
  return run_layer(*layer, x,
                   [impl = layer.ptr()](const torch::Tensor& y) { return impl->forward(y, {}); });
}

std::vector<torch::Tensor> Vit::hidden_states(const torch::Tensor& pixels) {
  std::vector<torch::Tensor> states{embed(pixels)};
  for (const TransformerEncoderLayer& layer : layers_) states.push_back(run(layer, states.back()));
  return states;
}

torch::Tensor Vit::encode(const torch::Tensor& pixels) {
  torch::Tensor x = embed(pixels);
  for (const TransformerEncoderLayer& layer : layers_) x = run(layer, x);
  return norm_->forward(x);
}

torch::Tensor Vit::pooled(const torch::Tensor& encoded) {
  if (!pooler_) throw std::logic_error("vit: this model has no pooler");
  return torch::tanh(pooler_->forward(encoded.select(1, 0)));
}

torch::Tensor Vit::logits(const torch::Tensor& encoded) {
  if (!classes_) throw std::logic_error("vit: this model has no classes");
  const torch::Tensor classes = classes_->forward(encoded.select(1, 0));
  if (!distillation_) return classes;
  return (classes + distillation_->forward(encoded.select(1, 1))) / 2;
}

torch::Tensor Vit::forward(const torch::Tensor& pixels) { return logits(encode(pixels)); }

torch::Tensor Vit::attention_map(const torch::Tensor& pixels, std::int64_t layer) {
  const torch::NoGradGuard no_grad;
  if (layer < 0 || layer >= layers()) {
    throw std::invalid_argument("layer: " + std::to_string(layer) + "; expected 0 to " +
                                std::to_string(layers() - 1));
  }
  torch::Tensor x = embed(pixels);
  for (std::int64_t i = 0; i < layer; ++i) x = layers_[static_cast<std::size_t>(i)]->forward(x, {});
  return layers_[static_cast<std::size_t>(layer)]->weights(x);
}

torch::Tensor Vit::rollout(const torch::Tensor& pixels) {
  const torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> states = hidden_states(pixels);
  torch::Tensor row = torch::zeros({pixels.size(0), 1, states[0].size(1)});
  row.select(-1, 0).fill_(1);
  for (std::size_t i = layers_.size(); i-- > 0;) row = layers_[i]->rollout(row, states[i]);
  const std::int64_t rows = pixels.size(2) / config_.patch;
  return as_map(row.squeeze(1).narrow(1, special_tokens(), row.size(2) - special_tokens()), rows);
}

}  // namespace regard::nn
