// SPDX-License-Identifier: Apache-2.0
// A block of CrossViT: encoder layers in each branch, then the exchange of class tokens.
#pragma once

#include <torch/torch.h>

#include "regard/nn/crossvit.h"
#include "regard/nn/multihead_attention.h"

namespace regard::nn {

torch::nn::LayerNorm branch_norm(const CrossVitConfig& config, std::size_t branch);

class CrossVitBlock : public torch::nn::Module {
 public:
  using Branches = CrossVit::Branches;
  explicit CrossVitBlock(const CrossVitConfig& config);

  Branches forward(const Branches& branches);
  // Rows (batch, 1, tokens) over what the block gives -> over what it got, `branches`: attention
  // rollout through the exchange and the layers.
  Branches rollout(const Branches& rows, const Branches& branches);

 private:
  // LayerNorm, GELU, a linear layer: from one branch's width to the other's.
  struct Projection {
    torch::nn::LayerNorm norm{nullptr};
    torch::nn::Linear linear{nullptr};
    torch::Tensor operator()(const torch::Tensor& token);
  };
  Projection make_projection(const std::string& name, const CrossVitConfig& config,
                             std::size_t from, std::size_t to);
  Branches run_layers(const Branches& branches);
  // What the class token of `branch` queries: itself at the other's width, then its patches.
  torch::Tensor exchanged(const Branches& branches, std::size_t branch);

  std::array<std::vector<TransformerEncoderLayer>, 2> layers_;
  std::array<Projection, 2> there_, back_;
  std::array<torch::nn::LayerNorm, 2> norm_{nullptr, nullptr};
  std::array<MultiheadAttention, 2> attention_{nullptr, nullptr};
};

}  // namespace regard::nn
