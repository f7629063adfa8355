// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/detr.h"

#include <sstream>
#include <stdexcept>

#include "nn/vision/detr_config.h"
#include "nn/vision/detr_positions.h"

namespace regard::nn {
namespace {

constexpr std::int64_t kLearnedPlaces = 50;

TransformerLayerOptions layer_options(const DetrConfig& config, bool encoder) {
  TransformerLayerOptions options;
  options.dim = config.dim;
  options.heads = encoder ? config.encoder_heads : config.decoder_heads;
  options.feed_forward = encoder ? config.encoder_feed_forward : config.decoder_feed_forward;
  options.norm_first = config.norm == "pre";
  options.activation = config.activation;
  options.dropout = config.dropout;
  return options;
}

template <typename Layer>
std::shared_ptr<torch::nn::Module> stack_of(std::vector<Layer>& layers,
                                            const TransformerLayerOptions& options,
                                            std::int64_t count) {
  torch::nn::ModuleList list;
  for (std::int64_t i = 0; i < count; ++i) {
    layers.emplace_back(options);
    list->push_back(layers.back());
  }
  auto stack = std::make_shared<torch::nn::Module>();
  stack->register_module("layers", list);
  // As the paper's: also the layers that libtorch draws otherwise.
  for (const torch::Tensor& parameter : stack->parameters())
    if (parameter.dim() > 1) torch::nn::init::xavier_uniform_(parameter);
  return stack;
}

void check_image(const torch::Tensor& pixels, const torch::Tensor& pixel_mask,
                 std::int64_t channels) {
  const auto fail = [](const std::string& name, const torch::Tensor& given,
                       const std::string& expected) {
    std::ostringstream text;
    text << name << ": " << given.sizes() << " " << given.scalar_type() << "; expected "
         << expected;
    throw std::invalid_argument(text.str());
  };
  if (pixels.dim() != 4 || pixels.size(1) != channels || !pixels.is_floating_point() ||
      pixels.numel() == 0)
    fail("pixels", pixels,
         "(batch, " + std::to_string(channels) + ", height, width), floating point");
  if (pixel_mask.defined() &&
      (pixel_mask.scalar_type() != torch::kBool || pixel_mask.dim() != 3 ||
       pixel_mask.size(0) != pixels.size(0) || pixel_mask.size(1) != pixels.size(2) ||
       pixel_mask.size(2) != pixels.size(3)))
    fail("pixel_mask", pixel_mask, "bool, (batch, height, width) of the pixels");
}

// (batch, height, width) of an image -> of its feature map: the nearest pixel's.
torch::Tensor visible_places(const torch::Tensor& pixel_mask, std::int64_t height,
                             std::int64_t width) {
  return torch::upsample_nearest2d(pixel_mask.unsqueeze(0).to(torch::kFloat32), {height, width})
      .squeeze(0)
      .to(torch::kBool);
}

}  // namespace

Detr::Detr(const DetrConfig& config) : config_(detr_config(to_json(config))) {
  backbone_ = register_module("backbone", ResNet(backbone_options(config_)));
  if (config_.frozen_stages > 0) backbone_->freeze(config_.frozen_stages);
  const std::int64_t width = backbone_options(config_).widths.back(), dim = config_.dim;
  projection_ = register_module("input_projection",
                                torch::nn::Conv2d(torch::nn::Conv2dOptions(width, dim, 1)));
  queries_ = register_parameter("query_positions", torch::randn({config_.queries, dim}));
  if (config_.positions == "learned") {
    rows_ = register_parameter("row_positions", torch::rand({kLearnedPlaces, dim / 2}));
    columns_ = register_parameter("column_positions", torch::rand({kLearnedPlaces, dim / 2}));
  }
  const auto encoder = register_module(
      "encoder", stack_of(encoder_, layer_options(config_, true), config_.encoder_layers));
  const auto decoder = register_module(
      "decoder", stack_of(decoder_, layer_options(config_, false), config_.decoder_layers));
  const auto norm = [&] { return torch::nn::LayerNorm(torch::nn::LayerNormOptions({dim})); };
  if (config_.norm == "pre") encoder_norm_ = encoder->register_module("norm", norm());
  decoder_norm_ = decoder->register_module("norm", norm());
  const auto linear = [&](const char* name, std::int64_t out) {
    return register_module(name, torch::nn::Linear(dim, out));
  };
  // What fine-tuning for other classes draws anew.
  classes_ = register_module("head", std::make_shared<torch::nn::Module>())
                 ->register_module(
                     "classes",
                     torch::nn::Linear(dim, static_cast<std::int64_t>(config_.labels.size()) + 1));
  box1_ = linear("box1", dim);
  box2_ = linear("box2", dim);
  box3_ = linear("box3", 4);
}

nlohmann::json Detr::config() const { return to_json(config_); }

torch::Tensor Detr::places(const torch::Tensor& visible, std::int64_t height, std::int64_t width) {
  if (config_.positions == "sine") return sine_positions(visible, config_.dim);
  if (height > kLearnedPlaces || width > kLearnedPlaces)
    throw std::invalid_argument("pixels: a map of " + std::to_string(height) + " x " +
                                std::to_string(width) + " features; learned positions are for " +
                                std::to_string(kLearnedPlaces) + " x " +
                                std::to_string(kLearnedPlaces) + " at most");
  const torch::Tensor across = columns_.narrow(0, 0, width).unsqueeze(0),
                      down = rows_.narrow(0, 0, height).unsqueeze(1);
  return torch::cat({across.expand({height, -1, -1}), down.expand({-1, width, -1})}, -1)
      .flatten(0, 1)
      .unsqueeze(0);
}

DetrOutput Detr::predict(const torch::Tensor& features) {
  const torch::Tensor inner = torch::relu(box2_->forward(torch::relu(box1_->forward(features))));
  return {classes_->forward(features), box3_->forward(inner).sigmoid()};
}

std::vector<DetrOutput> Detr::forward(const torch::Tensor& pixels, const torch::Tensor& pixel_mask,
                                      bool every_layer, DetrStates* states) {
  check_image(pixels, pixel_mask, config_.channels);
  const torch::Tensor map = backbone_->forward(pixels);
  const std::int64_t batch = map.size(0), height = map.size(2), width = map.size(3);
  torch::Tensor visible = torch::ones({1, height, width}, torch::kBool);
  Mask mask;
  if (pixel_mask.defined() && !pixel_mask.all().item<bool>()) {
    visible = visible_places(pixel_mask, height, width);
    mask = tensor_mask(visible.flatten(1).unsqueeze(1).unsqueeze(1));
  }
  torch::Tensor x = torch::linear(map.flatten(2).transpose(1, 2), projection_->weight.flatten(1),
                                  projection_->bias);
  const torch::Tensor positions = places(visible, height, width).to(x.scalar_type());
  if (states != nullptr) {
    *states = {};
    states->height = height;
    states->width = width;
    states->encoder.push_back(x);
  }
  for (TransformerEncoderLayer& layer : encoder_) {
    x = layer->forward(x, mask, positions);
    if (states != nullptr) states->encoder.push_back(x);
  }
  if (encoder_norm_) x = encoder_norm_->forward(x);

  const torch::Tensor keys = x + positions;
  const torch::Tensor queries = queries_.to(x.scalar_type()).unsqueeze(0);
  torch::Tensor y = torch::zeros({batch, config_.queries, config_.dim}, x.options());
  std::vector<DetrOutput> outputs;
  if (states != nullptr) states->decoder.push_back(y);
  for (std::size_t i = 0; i < decoder_.size(); ++i) {
    const bool last = i + 1 == decoder_.size();
    TransformerDecoderLayer& layer = decoder_[i];
    const KeyValues memory = layer->memory_attention().keys_values(keys, x);
    torch::Tensor* weights = last && states != nullptr ? &states->weights : nullptr;
    y = layer->forward_set(y, queries, memory, mask, weights);
    if (states != nullptr) states->decoder.push_back(y);
    if (config_.norm_between) y = decoder_norm_->forward(y);
    if (last || every_layer)
      outputs.push_back(predict(config_.norm_between && !last ? y : decoder_norm_->forward(y)));
    if (last && states != nullptr) {
      states->decoder.push_back(decoder_norm_->forward(y));
      states->weights = states->weights.unflatten(-1, {height, width});
    }
  }
  return outputs;
}

SetLoss Detr::loss(const torch::Tensor& pixels, const torch::Tensor& pixel_mask,
                   const std::vector<DetectionTarget>& targets) {
  const auto outputs = forward(pixels, pixel_mask, config_.loss.auxiliary);
  SetLoss whole = set_loss(outputs.back().logits, outputs.back().boxes, targets, config_.loss);
  for (std::size_t i = 0; i + 1 < outputs.size(); ++i)
    whole.loss =
        whole.loss + set_loss(outputs[i].logits, outputs[i].boxes, targets, config_.loss).loss;
  return whole;
}

}  // namespace regard::nn
