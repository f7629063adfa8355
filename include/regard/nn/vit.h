// SPDX-License-Identifier: Apache-2.0
// The Vision Transformer (Dosovitskiy et al. 2020, arXiv 2010.11929): patches of an image as the
// tokens of an encoder; also DeiT (Touvron et al. 2020, arXiv 2012.12877), which has a distillation
// token beside the class token.
//
// As JSON ({"kind": "vit", ...}) the config's keys are the names of VitConfig's fields. Weights of
// transformers' "vit" and "deit" are opened by open_model().
#pragma once

#include <memory>
#include <vector>

#include "regard/nn/image_classifier.h"
#include "regard/nn/transformer_layers.h"

namespace regard::nn {

struct VitConfig {
  std::int64_t image_size = 224, patch = 16, channels = 3;
  std::int64_t dim = 768, heads = 12, feed_forward = 3072, layers = 12;
  double norm_eps = 1e-12;
  std::string activation = "gelu";
  double dropout = 0;
  bool distilled = false;  // a distillation token
  bool pooler = false;     // tanh of a linear layer over the class token
  // "none"; "classes": a linear layer over the class token; "teacher": the mean of that and of one
  // over the distillation token.
  std::string head = "classes";
  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};
};

class Vit : public ImageClassifier {
 public:
  explicit Vit(const VitConfig& config);

  std::string kind() const override { return "vit"; }
  nlohmann::json config() const override;

  // An image of another size than image_size has the learned positions interpolated (bicubic); its
  // last rows and columns that fill no patch are not read.
  torch::Tensor forward(const torch::Tensor& pixels) override;
  const std::vector<std::string>& labels() const override { return config_.labels; }
  std::int64_t image_size() const override { return config_.image_size; }
  std::int64_t channels() const override { return config_.channels; }
  torch::Tensor rollout(const torch::Tensor& pixels) override;

  // The tokens after the last layer, normalized: (batch, tokens, dim). The first is the class
  // token, the second, where there is one, the distillation token.
  torch::Tensor encode(const torch::Tensor& pixels);
  // layers + 1 tensors of that shape, not normalized: the embedded patches and what each layer
  // gives.
  std::vector<torch::Tensor> hidden_states(const torch::Tensor& pixels);
  // tanh(W x + b) of the class token of what encode() gave; std::logic_error without a pooler.
  torch::Tensor pooled(const torch::Tensor& encoded);
  // The logits of what encode() gave.
  torch::Tensor logits(const torch::Tensor& encoded);
  // The exact weights of a layer's attention, (batch, heads, tokens, tokens), without gradients.
  torch::Tensor attention_map(const torch::Tensor& pixels, std::int64_t layer);

  std::int64_t layers() const { return config_.layers; }
  bool can_recompute_layers() const override { return true; }

 private:
  std::int64_t special_tokens() const { return config_.distilled ? 2 : 1; }
  torch::Tensor embed(const torch::Tensor& pixels);
  torch::Tensor run(const TransformerEncoderLayer& layer, const torch::Tensor& x) const;
  torch::Tensor positions_for(std::int64_t rows, std::int64_t columns) const;

  VitConfig config_;
  torch::nn::Conv2d patches_{nullptr};
  torch::Tensor cls_token_, distillation_token_, positions_;
  torch::nn::Dropout dropout_{nullptr};
  std::vector<TransformerEncoderLayer> layers_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear pooler_{nullptr}, classes_{nullptr}, distillation_{nullptr};
};

}  // namespace regard::nn
