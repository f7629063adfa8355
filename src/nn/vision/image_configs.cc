// SPDX-License-Identifier: Apache-2.0
#include "nn/vision/image_configs.h"

#include "nn/models/config_reader.h"
#include "nn/modules/activation.h"

namespace regard::nn {
namespace {

constexpr std::int64_t kMostPixelsInARow = 32'768;

[[noreturn]] void wrong(const std::string& name, std::int64_t value, const std::string& expected) {
  throw std::invalid_argument(name + ": " + std::to_string(value) + "; expected " + expected);
}

void check_divides(const std::string& name, std::int64_t value, const std::string& whole_name,
                   std::int64_t whole) {
  if (whole % value != 0) {
    wrong(name, value, "a divisor of " + whole_name + " (" + std::to_string(whole) + ")");
  }
}

void check_labels(const std::vector<std::string>& labels) {
  if (labels.empty()) throw std::invalid_argument("labels: none; expected at least one");
}

}  // namespace

VitConfig vit_config(const nlohmann::json& json) {
  VitConfig config;
  ConfigReader reader(json);
  reader.read("image_size", config.image_size, 1, kMostPixelsInARow);
  reader.read("patch", config.patch, 1, kMostPixelsInARow);
  reader.read("channels", config.channels, 1, 1024);
  reader.read("dim", config.dim, 1, kMostDim);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("feed_forward", config.feed_forward, 1, 4 * kMostDim);
  reader.read("layers", config.layers, 1, kMostLayers);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("activation", config.activation, activations());
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("distilled", config.distilled);
  reader.read("pooler", config.pooler);
  reader.read("head", config.head, {"none", "classes", "teacher"});
  reader.read("labels", config.labels);
  reader.finish();
  check_divides("heads", config.heads, "dim", config.dim);
  if (config.patch > config.image_size) wrong("patch", config.patch, "at most image_size");
  if (config.head == "teacher" && !config.distilled) {
    throw std::invalid_argument("head: \"teacher\"; expected a config with \"distilled\"");
  }
  check_labels(config.labels);
  return config;
}

nlohmann::json to_json(const VitConfig& config) {
  return {{"kind", "vit"},
          {"image_size", config.image_size},
          {"patch", config.patch},
          {"channels", config.channels},
          {"dim", config.dim},
          {"heads", config.heads},
          {"feed_forward", config.feed_forward},
          {"layers", config.layers},
          {"norm_eps", config.norm_eps},
          {"activation", config.activation},
          {"dropout", config.dropout},
          {"distilled", config.distilled},
          {"pooler", config.pooler},
          {"head", config.head},
          {"labels", config.labels}};
}

CrossVitConfig crossvit_config(const nlohmann::json& json) {
  CrossVitConfig config;
  ConfigReader reader(json);
  reader.read("image_sizes", config.image_sizes, 1, kMostPixelsInARow);
  reader.read("patches", config.patches, 1, kMostPixelsInARow);
  reader.read("dims", config.dims, 1, kMostDim);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("feed_forwards", config.feed_forwards, 1, 4 * kMostDim);
  reader.read("layers", config.layers, 0, kMostLayers);
  reader.read("blocks", config.blocks, 1, kMostLayers);
  reader.read("channels", config.channels, 1, 1024);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("labels", config.labels);
  reader.finish();
  const std::pair<const char*, std::size_t> lists[] = {
      {"image_sizes", config.image_sizes.size()},
      {"patches", config.patches.size()},
      {"dims", config.dims.size()},
      {"heads", config.heads.size()},
      {"feed_forwards", config.feed_forwards.size()},
      {"layers", config.layers.size()}};
  for (const auto& [name, size] : lists) {
    if (size != 2) {
      throw std::invalid_argument(std::string(name) + ": " + std::to_string(size) +
                                  " numbers; expected one for each of the two branches");
    }
  }
  for (std::size_t i = 0; i < 2; ++i) {
    check_divides("patches", config.patches[i], "image_sizes", config.image_sizes[i]);
    check_divides("heads", config.heads[i], "dims", config.dims[i]);
  }
  check_labels(config.labels);
  return config;
}

nlohmann::json to_json(const CrossVitConfig& config) {
  return {{"kind", "crossvit"},          {"image_sizes", config.image_sizes},
          {"patches", config.patches},   {"dims", config.dims},
          {"heads", config.heads},       {"feed_forwards", config.feed_forwards},
          {"layers", config.layers},     {"blocks", config.blocks},
          {"channels", config.channels}, {"norm_eps", config.norm_eps},
          {"dropout", config.dropout},   {"labels", config.labels}};
}

CatConfig cat_config(const nlohmann::json& json) {
  CatConfig config;
  ConfigReader reader(json);
  reader.read("image_size", config.image_size, 1, kMostPixelsInARow);
  reader.read("channels", config.channels, 1, 1024);
  reader.read("embedding", config.embedding, 1, kMostPixelsInARow);
  reader.read("patch", config.patch, 1, 256);
  reader.read("dim", config.dim, 1, kMostDim);
  reader.read("depths", config.depths, 1, kMostLayers);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("mlp_ratio", config.mlp_ratio, 1, 64);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("labels", config.labels);
  reader.finish();
  check_labels(config.labels);
  if (config.depths.empty() || config.depths.size() > 16) {
    wrong("depths", static_cast<std::int64_t>(config.depths.size()), "1 to 16 stages");
  }
  if (config.heads.size() != config.depths.size()) {
    wrong("heads", static_cast<std::int64_t>(config.heads.size()),
          "as many numbers as depths has (" + std::to_string(config.depths.size()) + ")");
  }
  check_divides("embedding", config.embedding, "image_size", config.image_size);
  std::int64_t side = config.image_size / config.embedding, dim = config.dim;
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage, side /= 2, dim *= 2) {
    check_divides("patch", std::min(config.patch, side), "a stage's map", side);
    check_divides("heads", config.heads[stage], "a stage's dim", dim);
    if (stage + 1 < config.depths.size() && (side < 2 || side % 2 != 0)) {
      wrong("depths", static_cast<std::int64_t>(config.depths.size()),
            "fewer stages: a map of " + std::to_string(side) + " pixels cannot be halved");
    }
  }
  return config;
}

nlohmann::json to_json(const CatConfig& config) {
  return {{"kind", "cat"},
          {"image_size", config.image_size},
          {"channels", config.channels},
          {"embedding", config.embedding},
          {"patch", config.patch},
          {"dim", config.dim},
          {"depths", config.depths},
          {"heads", config.heads},
          {"mlp_ratio", config.mlp_ratio},
          {"norm_eps", config.norm_eps},
          {"dropout", config.dropout},
          {"labels", config.labels}};
}

}  // namespace regard::nn
