// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/crossvit.h"

#include <stdexcept>

#include "nn/vision/crossvit_block.h"
#include "nn/vision/image_configs.h"
#include "nn/vision/patches.h"

namespace regard::nn {

CrossVit::CrossVit(const CrossVitConfig& config) : config_(crossvit_config(to_json(config))) {
  torch::nn::ModuleList patches, norms, heads, blocks;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t side = config_.image_sizes[i] / config_.patches[i], dim = config_.dims[i];
    patches_.push_back(patch_embedding(config_.channels, dim, config_.patches[i]));
    patches->push_back(patches_.back());
    const std::string number = std::to_string(i);
    cls_tokens_[i] = register_parameter("cls_token_" + number, drawn({1, 1, dim}));
    positions_[i] = register_parameter("positions_" + number, drawn({1, 1 + side * side, dim}));
    norms_.push_back(branch_norm(config_, i));
    norms->push_back(norms_.back());
    heads_.emplace_back(dim, static_cast<std::int64_t>(config_.labels.size()));
    heads->push_back(heads_.back());
  }
  for (std::int64_t i = 0; i < config_.blocks; ++i) {
    blocks_.push_back(std::make_shared<CrossVitBlock>(config_));
    blocks->push_back(blocks_.back());
  }
  register_module("patches", patches);
  dropout_ = register_module("dropout", torch::nn::Dropout(config_.dropout));
  register_module("blocks", blocks);
  register_module("norms", norms);
  register_module("heads", heads);
}

CrossVit::~CrossVit() = default;

nlohmann::json CrossVit::config() const { return to_json(config_); }

CrossVit::Branches CrossVit::embed(const torch::Tensor& pixels) {
  check_pixels(pixels);
  if (pixels.size(2) != image_size() || pixels.size(3) != image_size()) {
    throw std::invalid_argument("pixels: " + std::to_string(pixels.size(2)) + " x " +
                                std::to_string(pixels.size(3)) + "; expected " +
                                std::to_string(image_size()) + " x " +
                                std::to_string(image_size()) + ", the model's image_sizes");
  }
  Branches branches;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t size = config_.image_sizes[i];
    torch::Tensor x = pixels;
    if (size != image_size()) x = at::upsample_bicubic2d(x, {size, size}, /*align_corners=*/false);
    x = patches_[i]->forward(x).flatten(2).transpose(1, 2);
    x = torch::cat({cls_tokens_[i].expand({x.size(0), -1, -1}), x}, 1) + positions_[i];
    branches[i] = dropout_->forward(x);
  }
  return branches;
}

std::vector<CrossVit::Branches> CrossVit::hidden_states(const torch::Tensor& pixels) {
  std::vector<Branches> states{embed(pixels)};
  for (const auto& block : blocks_) states.push_back(block->forward(states.back()));
  return states;
}

torch::Tensor CrossVit::forward(const torch::Tensor& pixels) {
  Branches branches = embed(pixels);
  for (const auto& block : blocks_) branches = block->forward(branches);
  torch::Tensor sum;
  for (std::size_t i = 0; i < 2; ++i) {
    const torch::Tensor token = norms_[i]->forward(branches[i].select(1, 0));
    const torch::Tensor logits = heads_[i]->forward(token);
    sum = sum.defined() ? sum + logits : logits;
  }
  return sum / 2;
}

torch::Tensor CrossVit::rollout(const torch::Tensor& pixels) {
  const torch::NoGradGuard no_grad;
  const std::vector<Branches> states = hidden_states(pixels);
  Branches rows;
  for (std::size_t i = 0; i < 2; ++i) {
    rows[i] = torch::zeros({pixels.size(0), 1, states[0][i].size(1)});
    rows[i].select(-1, 0).fill_(0.5);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) rows = blocks_[i]->rollout(rows, states[i]);
  // What a large patch has is spread over its area.
  torch::Tensor whole;
  const std::int64_t side = config_.image_sizes[0] / config_.patches[0];
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t own = config_.image_sizes[i] / config_.patches[i];
    const torch::Tensor map =
        rows[i].narrow(-1, 1, own * own).unflatten(-1, {own, own});  // (batch, 1, own, own)
    const double share = static_cast<double>(own * own) / static_cast<double>(side * side);
    const torch::Tensor fine =
        own == side ? map
                    : at::upsample_bilinear2d(map, {side, side}, /*align_corners=*/false) * share;
    whole = whole.defined() ? whole + fine : fine;
  }
  return as_map(whole.flatten(1), side);
}

}  // namespace regard::nn
