// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/longformer.h"

#include "nn/language/longformer_config.h"
#include "nn/language/longformer_layer.h"
#include "nn/language/text_config.h"

namespace regard::nn {

LongformerConfig longformer_config(const nlohmann::json& json) {
  LongformerConfig config;
  config.positions = "after-pad";
  config.pad_token = 1;
  ConfigReader reader(json);
  read_text_config(reader, config);
  reader.read("windows", config.windows, 2, std::int64_t{1} << 30);
  reader.read("separator", config.separator, 0, kMostVocabulary);
  reader.finish();
  settle_text_config(config, /*first_token_head=*/true);
  if (config.windows.empty()) config.windows = {512};
  if (config.windows.size() == 1) config.windows.assign(config.layers, config.windows[0]);
  if (static_cast<std::int64_t>(config.windows.size()) != config.layers)
    throw std::invalid_argument("windows: " + std::to_string(config.windows.size()) +
                                "; expected one for each of " + std::to_string(config.layers) +
                                " layers");
  for (const std::int64_t window : config.windows)
    if (window % 2 != 0)
      throw std::invalid_argument("windows: " + std::to_string(window) + "; expected even ones");
  return config;
}

Longformer::Longformer(const LongformerConfig& config) : config_(config) {
  config_ = longformer_config(this->config());
  std::vector<std::shared_ptr<EncoderLayer>> layers;
  for (std::int64_t i = 0; i < config_.layers; ++i)
    layers.push_back(std::make_shared<LongformerLayer>(config_));
  build(config_, /*first_token_head=*/true, std::move(layers));
}

nlohmann::json Longformer::config() const {
  nlohmann::json json = text_config_json(config_, "longformer");
  json["windows"] = config_.windows;
  json["separator"] = config_.separator;
  return json;
}

torch::Tensor Longformer::global_mask(const TextInput& input) const {
  if (input.global.defined()) return input.global.ne(0);
  const torch::Tensor places = torch::arange(input.tokens.size(1)).unsqueeze(0);
  if (config_.head == "sequence") {
    const torch::Tensor text = text_mask(input);
    if (!text.defined()) return (places == 0).expand_as(input.tokens);
    return places == text.to(torch::kInt64).argmax(1, /*keepdim=*/true);
  }
  if (config_.head != "span") return {};
  const torch::Tensor separators = input.tokens == config_.separator;
  if (!separators.any(1).all().item<bool>())
    throw std::invalid_argument("tokens: a text without a separator (token " +
                                std::to_string(config_.separator) +
                                ") after its question; say with `global` which are global");
  return places < separators.to(torch::kInt64).argmax(1, /*keepdim=*/true);
}

void Longformer::prepare(std::size_t layer, LayerReading& reading) const {
  if (layer > 0 && config_.windows[layer] == config_.windows[layer - 1] &&
      !(reading.seen.mask.hides_nothing() && reading.by_text.empty()))
    return;  // as the layer before
  const Packing& packing = reading.packing;
  const std::int64_t side = config_.windows[layer] / 2;
  // Of `batch` rows of `length`, whose global tokens are at `places`.
  const auto seen = [&](const torch::Tensor& places, std::int64_t batch, std::int64_t length) {
    Mask mask = window(side, side);
    if (places.defined()) mask = mask | global_tokens(places);
    mask = mask & reading.text;
    return Seen{mask, std::make_shared<Plan>(mask, batch, config_.heads, length, length)};
  };
  if (packing.whole()) {
    const torch::Tensor places = reading.globals ? reading.globals->places : torch::Tensor();
    reading.seen = seen(places, packing.batch, packing.len);
  } else if (!reading.globals) {
    reading.seen = seen({}, 1, packing.total());
  } else {
    // A list of global tokens for each text is not what a packed batch takes: one by one.
    reading.text = Mask();
    reading.by_text.clear();
    for (std::int64_t i = 0; i < packing.batch; ++i)
      reading.by_text.push_back(seen(reading.globals->places.narrow(0, i, 1), 1,
                                     packing.lengths[static_cast<std::size_t>(i)]));
  }
}

}  // namespace regard::nn
