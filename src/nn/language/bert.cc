// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/bert.h"

#include "nn/language/bert_config.h"
#include "nn/language/encoder_layer.h"
#include "nn/language/text_config.h"

namespace regard::nn {

BertConfig bert_config(const nlohmann::json& json) {
  BertConfig config;
  ConfigReader reader(json);
  read_text_config(reader, config);
  reader.read("first_token_head", config.first_token_head);
  reader.finish();
  settle_text_config(config, config.first_token_head);
  return config;
}

Bert::Bert(const BertConfig& config) : config_(config) {
  config_ = bert_config(this->config());
  std::vector<std::shared_ptr<EncoderLayer>> layers;
  for (std::int64_t i = 0; i < config_.layers; ++i)
    layers.push_back(std::make_shared<EncoderLayer>(config_));
  build(config_, config_.first_token_head, std::move(layers));
}

nlohmann::json Bert::config() const {
  nlohmann::json json = text_config_json(config_, "bert");
  json["first_token_head"] = config_.first_token_head;
  return json;
}

void Bert::prepare(std::size_t layer, LayerReading& reading) const {
  if (layer > 0 && reading.seen.plan != nullptr) return;  // as the layer before
  reading.seen.mask = reading.text;
  if (reading.packing.whole()) return;
  const std::int64_t total = reading.packing.total();
  reading.seen.plan = std::make_shared<Plan>(reading.text, 1, config_.heads, total, total);
}

}  // namespace regard::nn
