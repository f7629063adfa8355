// SPDX-License-Identifier: Apache-2.0
// A stage of CAT: blocks at one resolution. Maps are (batch, rows, columns, channels).
#pragma once

#include <torch/torch.h>

#include <vector>

#include "regard/nn/attention.h"
#include "regard/nn/cat.h"

namespace regard::nn {

struct CatLayerOptions {
  std::int64_t dim = 0, heads = 1, patch = 1, feed_forward = 0;
  double dropout = 0, norm_eps = 1e-5;
};

// x + attention(LN(x)), then that + MLP(LN(that)). What attention is over, a derived class says.
class CatLayer : public torch::nn::Module {
 public:
  CatLayer(const CatLayerOptions& options, std::int64_t token_dim);
  torch::Tensor forward(torch::Tensor x);

 protected:
  // patches (batch, patches, patch * patch, dim), normalized -> the same.
  virtual torch::Tensor attend(const torch::Tensor& patches) = 0;
  AttentionOptions attention_options() const;

  CatLayerOptions options_;
  torch::nn::Linear in_proj_{nullptr}, out_proj_{nullptr};

 private:
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear linear1_{nullptr}, linear2_{nullptr};
};

// Inner-patch self-attention: the pixels of a patch are the tokens.
class InnerPatchLayer : public CatLayer {
 public:
  explicit InnerPatchLayer(const CatLayerOptions& options);

 protected:
  torch::Tensor attend(const torch::Tensor& patches) override;

 private:
  torch::Tensor table_;  // ((2 patch - 1)^2, heads): the bias of each pair of relative positions
  torch::Tensor codes_, buckets_;
};

// Cross-patch self-attention: of each channel, patches are the tokens.
class CrossPatchLayer : public CatLayer {
 public:
  explicit CrossPatchLayer(const CatLayerOptions& options);

 protected:
  torch::Tensor attend(const torch::Tensor& patches) override;
};

class CatStage : public torch::nn::Module {
 public:
  // side: rows and columns of its map; `halve`: a projection to half of them goes before it.
  CatStage(const CatConfig& config, std::size_t stage, std::int64_t side, bool halve);
  torch::Tensor forward(torch::Tensor x);

 private:
  torch::nn::LayerNorm projection_norm_{nullptr};
  torch::nn::Linear projection_{nullptr};
  std::vector<std::shared_ptr<CatLayer>> layers_;
};

}  // namespace regard::nn
