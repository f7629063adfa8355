// SPDX-License-Identifier: Apache-2.0
// DETR (Carion et al. 2020, "End-to-end object detection with transformers", arXiv 2005.12872): a
// residual network makes a map of features, an encoder lets its places see each other, a decoder
// turns a fixed number of learned object queries into a class and a box each. "No object" is a
// class, the last one.
//
// As JSON ({"kind": "detr", ...}) the config's keys are the names of DetrConfig's fields.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regard/nn/model.h"
#include "regard/nn/resnet.h"
#include "regard/nn/set_loss.h"
#include "regard/nn/transformer_layers.h"

namespace regard::nn {

struct DetrConfig {
  std::vector<std::string> labels;  // of the classes, "no object" not among them
  std::int64_t queries = 100;       // the most objects that are found in an image
  std::int64_t dim = 256;
  std::int64_t encoder_heads = 8, decoder_heads = 8;
  std::int64_t encoder_feed_forward = 2048, decoder_feed_forward = 2048;
  std::int64_t encoder_layers = 6, decoder_layers = 6;
  std::string norm = "post";        // or "pre"
  std::string activation = "relu";  // or "gelu", "silu"
  double dropout = 0.1;
  std::string positions = "sine";  // or "learned": a table of 50 rows and 50 columns
  // Each decoder layer reads what the one before it gave normalized, as transformers' DETR does
  // where `auxiliary_loss` is set; the paper normalizes what the heads read alone.
  bool norm_between = false;

  // "resnet18", "resnet34", "resnet50", "resnet101", or "custom": what the backbone_ fields say.
  std::string backbone = "resnet50";
  std::int64_t channels = 3;  // of an image
  std::int64_t backbone_stem = 64;
  std::vector<std::int64_t> backbone_widths, backbone_depths;
  std::string backbone_block = "bottleneck";
  bool backbone_first_stage_halves = false, backbone_stride_in_first = false;
  bool dilated = false;
  std::string backbone_norm = "frozen";  // or "batch", to train without weights to begin with
  std::int64_t frozen_stages = 0;  // of the backbone, and its stem: no gradients; 0 freezes none

  SetLossOptions loss;  // JSON: class_cost, box_cost, giou_cost, box_weight, giou_weight, ...
};

struct DetrOutput {
  torch::Tensor logits;  // (batch, queries, classes + 1)
  torch::Tensor boxes;   // (batch, queries, 4): centre x, y, width, height, of the image's size
};

// What a person or a test looks at. Places of the feature map are read row by row.
struct DetrStates {
  std::int64_t height = 0, width = 0;  // of the feature map
  // What goes into the encoder and what each layer gives: (batch, height * width, dim). Places that
  // are padding hold nothing of use.
  std::vector<torch::Tensor> encoder;
  // The same of the decoder, (batch, queries, dim); then what the heads read.
  std::vector<torch::Tensor> decoder;
  // How the last layer of the decoder looks at the map: (batch, heads, queries, height, width),
  // exact weights that add up to 1.
  torch::Tensor weights;
};

class Detr : public Model {
 public:
  explicit Detr(const DetrConfig& config);

  static constexpr const char* kWhat = "a model that detects objects (DETR)";

  std::string kind() const override { return "detr"; }
  nlohmann::json config() const override;
  const std::vector<std::string>& labels() const { return config_.labels; }
  const SetLossOptions& loss_options() const { return config_.loss; }

  // pixels (batch, channels, height, width), normalized. pixel_mask (batch, height, width), bool:
  // false where an image of a smaller size is padded, at its right and bottom; none where nothing
  // is. The output of the last decoder layer, behind those of all others if
  // `every_layer`.
  std::vector<DetrOutput> forward(const torch::Tensor& pixels, const torch::Tensor& pixel_mask = {},
                                  bool every_layer = false, DetrStates* states = nullptr);

  // The loss of all decoder layers, or of the last alone where the config has no auxiliary losses.
  SetLoss loss(const torch::Tensor& pixels, const torch::Tensor& pixel_mask,
               const std::vector<DetectionTarget>& targets);

 private:
  torch::Tensor places(const torch::Tensor& visible, std::int64_t height, std::int64_t width);
  DetrOutput predict(const torch::Tensor& features);

  DetrConfig config_;
  ResNet backbone_{nullptr};
  torch::nn::Conv2d projection_{nullptr};
  std::vector<TransformerEncoderLayer> encoder_;
  std::vector<TransformerDecoderLayer> decoder_;
  torch::nn::LayerNorm encoder_norm_{nullptr}, decoder_norm_{nullptr};
  torch::Tensor queries_, rows_, columns_;
  torch::nn::Linear classes_{nullptr}, box1_{nullptr}, box2_{nullptr}, box3_{nullptr};
};

}  // namespace regard::nn
