// SPDX-License-Identifier: Apache-2.0
#include "nn/vision/cat_stage.h"

#include <algorithm>

#include "nn/vision/patches.h"

namespace regard::nn {
namespace {

torch::nn::LayerNorm cat_norm(std::int64_t dim, double eps) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({dim}).eps(eps));
}

}  // namespace

CatLayer::CatLayer(const CatLayerOptions& options, std::int64_t token_dim) : options_(options) {
  const std::int64_t dim = options.dim;
  norm1_ = register_module("norm1", cat_norm(dim, options.norm_eps));
  in_proj_ = register_module("in_proj", torch::nn::Linear(token_dim, 3 * token_dim));
  out_proj_ = register_module("out_proj", torch::nn::Linear(token_dim, token_dim));
  norm2_ = register_module("norm2", cat_norm(dim, options.norm_eps));
  linear1_ = register_module("linear1", torch::nn::Linear(dim, options.feed_forward));
  linear2_ = register_module("linear2", torch::nn::Linear(options.feed_forward, dim));
}

AttentionOptions CatLayer::attention_options() const {
  AttentionOptions options;
  if (is_training()) options.dropout_p = options_.dropout;
  return options;
}

torch::Tensor CatLayer::forward(torch::Tensor x) {
  const auto dropped = [&](const torch::Tensor& y) {
    return torch::dropout(y, options_.dropout, is_training());
  };
  const std::int64_t side = options_.patch, rows = x.size(1) / side, columns = x.size(2) / side;
  // (batch, rows, y, columns, x, dim) <-> (batch, rows, columns, y, x, dim)
  const torch::Tensor patches = norm1_->forward(x)
                                    .unflatten(2, {columns, side})
                                    .unflatten(1, {rows, side})
                                    .transpose(2, 3)
                                    .flatten(3, 4)
                                    .flatten(1, 2);
  const torch::Tensor attended = attend(patches)
                                     .unflatten(1, {rows, columns})
                                     .unflatten(3, {side, side})
                                     .transpose(2, 3)
                                     .reshape(x.sizes());
  x = x + dropped(attended);
  return x + dropped(linear2_->forward(torch::gelu(linear1_->forward(norm2_->forward(x)))));
}

InnerPatchLayer::InnerPatchLayer(const CatLayerOptions& options) : CatLayer(options, options.dim) {
  const std::int64_t side = options.patch, wide = 2 * side - 1;
  table_ = register_parameter("relative_bias", drawn({wide * wide, options.heads}));
  const torch::Tensor at = torch::arange(side, torch::kInt32);
  codes_ = (at.unsqueeze(1) * wide + at.unsqueeze(0)).flatten();
  buckets_ = torch::arange(wide * wide, torch::kInt32);
}

torch::Tensor InnerPatchLayer::attend(const torch::Tensor& patches) {
  const torch::Tensor tokens = patches.flatten(0, 1);  // (batch * patches, pixels, dim)
  const auto parts = in_proj_->forward(tokens)
                         .unflatten(-1, {3 * options_.heads, options_.dim / options_.heads})
                         .split(options_.heads, -2);
  AttentionOptions options = attention_options();
  options.layout = Layout::kBshd;
  const std::int64_t side = options_.patch;
  options.modifiers = {
      relative_bias(table_, buckets_, codes_, codes_, (side - 1) * (2 * side - 1) + side - 1)};
  const torch::Tensor out = attention(parts[0], parts[1], parts[2], options).flatten(-2);
  return out_proj_->forward(out).view(patches.sizes());
}

CrossPatchLayer::CrossPatchLayer(const CatLayerOptions& options)
    : CatLayer(options, options.patch * options.patch) {}

torch::Tensor CrossPatchLayer::attend(const torch::Tensor& patches) {
  // Channels stand where heads do: (batch, dim, patches, pixels).
  const auto parts = in_proj_->forward(patches.permute({0, 3, 1, 2})).chunk(3, -1);
  const torch::Tensor out = attention(parts[0], parts[1], parts[2], attention_options());
  return out_proj_->forward(out).permute({0, 2, 3, 1});
}

CatStage::CatStage(const CatConfig& config, std::size_t stage, std::int64_t side, bool halve) {
  CatLayerOptions options;
  options.dim = config.dim << stage;
  options.heads = config.heads[stage];
  options.patch = std::min(config.patch, side);
  options.feed_forward = config.mlp_ratio * options.dim;
  options.dropout = config.dropout;
  options.norm_eps = config.norm_eps;
  if (halve) {
    projection_norm_ =
        register_module("projection_norm", cat_norm(2 * options.dim, config.norm_eps));
    projection_ = register_module(
        "projection",
        torch::nn::Linear(torch::nn::LinearOptions(2 * options.dim, options.dim).bias(false)));
  }
  torch::nn::ModuleList list;
  for (std::int64_t block = 0; block < config.depths[stage]; ++block) {
    layers_.push_back(std::make_shared<InnerPatchLayer>(options));
    layers_.push_back(std::make_shared<CrossPatchLayer>(options));
    layers_.push_back(std::make_shared<InnerPatchLayer>(options));
  }
  for (const auto& layer : layers_) list->push_back(layer);
  register_module("layers", list);
}

torch::Tensor CatStage::forward(torch::Tensor x) {
  if (projection_) {
    // (y, x) of four neighbours: (0, 0), (1, 0), (0, 1), (1, 1), one behind the other.
    const torch::Tensor four =
        x.unflatten(2, {-1, 2}).unflatten(1, {-1, 2}).permute({0, 1, 3, 4, 2, 5}).flatten(3);
    x = projection_->forward(projection_norm_->forward(four));
  }
  for (const auto& layer : layers_) x = layer->forward(x);
  return x;
}

}  // namespace regard::nn
