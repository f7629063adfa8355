// SPDX-License-Identifier: Apache-2.0
#include "nn/vision/detr_config.h"

#include "nn/models/config_reader.h"

namespace regard::nn {
namespace {

constexpr std::int64_t kMostQueries = 100'000, kMostStages = 16, kMostDepth = 1000;
constexpr double kMostWeight = 1e9;

void check_heads(const char* name, std::int64_t heads, std::int64_t dim) {
  if (dim % heads != 0)
    throw std::invalid_argument(std::string(name) + ": " + std::to_string(heads) +
                                "; expected a divisor of dim (" + std::to_string(dim) + ")");
}

}  // namespace

DetrConfig detr_config(const nlohmann::json& json) {
  DetrConfig config;
  ConfigReader reader(json);
  reader.read("labels", config.labels);
  reader.read("queries", config.queries, 1, kMostQueries);
  reader.read("dim", config.dim, 4, kMostDim);
  reader.read("encoder_heads", config.encoder_heads, 1, kMostDim);
  reader.read("decoder_heads", config.decoder_heads, 1, kMostDim);
  reader.read("encoder_feed_forward", config.encoder_feed_forward, 1, 4 * kMostDim);
  reader.read("decoder_feed_forward", config.decoder_feed_forward, 1, 4 * kMostDim);
  reader.read("encoder_layers", config.encoder_layers, 0, kMostLayers);
  reader.read("decoder_layers", config.decoder_layers, 1, kMostLayers);
  reader.read("norm", config.norm, {"post", "pre"});
  reader.read("activation", config.activation, {"relu", "gelu", "silu"});
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("positions", config.positions, {"sine", "learned"});
  reader.read("norm_between", config.norm_between);
  reader.read("backbone", config.backbone,
              {"custom", "resnet18", "resnet34", "resnet50", "resnet101"});
  reader.read("channels", config.channels, 1, 1024);
  reader.read("backbone_stem", config.backbone_stem, 1, kMostDim);
  reader.read("backbone_widths", config.backbone_widths, 1, kMostDim);
  reader.read("backbone_depths", config.backbone_depths, 1, kMostDepth);
  reader.read("backbone_block", config.backbone_block, {"bottleneck", "basic"});
  reader.read("backbone_first_stage_halves", config.backbone_first_stage_halves);
  reader.read("backbone_stride_in_first", config.backbone_stride_in_first);
  reader.read("dilated", config.dilated);
  reader.read("backbone_norm", config.backbone_norm, {"frozen", "batch"});
  reader.read("frozen_stages", config.frozen_stages, 0, kMostStages);
  reader.read("class_cost", config.loss.class_cost, 0, kMostWeight);
  reader.read("box_cost", config.loss.box_cost, 0, kMostWeight);
  reader.read("giou_cost", config.loss.giou_cost, 0, kMostWeight);
  reader.read("box_weight", config.loss.box_weight, 0, kMostWeight);
  reader.read("giou_weight", config.loss.giou_weight, 0, kMostWeight);
  reader.read("no_object_weight", config.loss.no_object_weight, 0, kMostWeight);
  reader.read("auxiliary_loss", config.loss.auxiliary);
  reader.finish();
  if (config.labels.empty())
    throw std::invalid_argument("labels: none; expected a name for each class");
  if (config.dim % 4 != 0)
    throw std::invalid_argument("dim: " + std::to_string(config.dim) +
                                "; expected a multiple of 4");
  check_heads("encoder_heads", config.encoder_heads, config.dim);
  check_heads("decoder_heads", config.decoder_heads, config.dim);
  if (config.backbone == "custom" &&
      (config.backbone_widths.empty() ||
       config.backbone_widths.size() != config.backbone_depths.size()))
    throw std::invalid_argument(
        "backbone_widths: " + std::to_string(config.backbone_widths.size()) +
        " stages, backbone_depths: " + std::to_string(config.backbone_depths.size()) +
        "; expected as many of both, at least one");
  return config;
}

nlohmann::json to_json(const DetrConfig& config) {
  return {{"kind", "detr"},
          {"labels", config.labels},
          {"queries", config.queries},
          {"dim", config.dim},
          {"encoder_heads", config.encoder_heads},
          {"decoder_heads", config.decoder_heads},
          {"encoder_feed_forward", config.encoder_feed_forward},
          {"decoder_feed_forward", config.decoder_feed_forward},
          {"encoder_layers", config.encoder_layers},
          {"decoder_layers", config.decoder_layers},
          {"norm", config.norm},
          {"activation", config.activation},
          {"dropout", config.dropout},
          {"positions", config.positions},
          {"norm_between", config.norm_between},
          {"backbone", config.backbone},
          {"channels", config.channels},
          {"backbone_stem", config.backbone_stem},
          {"backbone_widths", config.backbone_widths},
          {"backbone_depths", config.backbone_depths},
          {"backbone_block", config.backbone_block},
          {"backbone_first_stage_halves", config.backbone_first_stage_halves},
          {"backbone_stride_in_first", config.backbone_stride_in_first},
          {"dilated", config.dilated},
          {"backbone_norm", config.backbone_norm},
          {"frozen_stages", config.frozen_stages},
          {"class_cost", config.loss.class_cost},
          {"box_cost", config.loss.box_cost},
          {"giou_cost", config.loss.giou_cost},
          {"box_weight", config.loss.box_weight},
          {"giou_weight", config.loss.giou_weight},
          {"no_object_weight", config.loss.no_object_weight},
          {"auxiliary_loss", config.loss.auxiliary}};
}

ResNetOptions backbone_options(const DetrConfig& config) {
  ResNetOptions options;
  if (config.backbone == "custom") {
    options.stem = config.backbone_stem;
    options.widths = config.backbone_widths;
    options.depths = config.backbone_depths;
    options.block = config.backbone_block;
    options.first_stage_halves = config.backbone_first_stage_halves;
    options.stride_in_first = config.backbone_stride_in_first;
  } else {
    options = resnet_options(config.backbone);
  }
  options.channels = config.channels;
  options.dilated = config.dilated;
  options.norm = config.backbone_norm;
  return options;
}

}  // namespace regard::nn
