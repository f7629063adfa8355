// SPDX-License-Identifier: Apache-2.0
#include "nn/language/gpt2_config.h"

#include "nn/models/config_reader.h"
#include "nn/modules/activation.h"

namespace regard::nn {

Gpt2Config gpt2_config(const nlohmann::json& json) {
  Gpt2Config config;
  ConfigReader reader(json);
  reader.read("vocab", config.vocab, 4, kMostVocabulary);
  reader.read("max_positions", config.max_positions, 1, std::int64_t{1} << 30);
  reader.read("dim", config.dim, 1, kMostDim);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("feed_forward", config.feed_forward, 0, 4 * kMostDim);
  reader.read("layers", config.layers, 1, kMostLayers);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("activation", config.activation, activations());
  reader.read("tied", config.tied);
  reader.read("scale_scores", config.scale_scores);
  reader.read("scale_layers", config.scale_layers);
  reader.read("embedding_dropout", config.embedding_dropout, 0, 1);
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("attention_dropout", config.attention_dropout, 0, 1);
  reader.finish();
  if (config.dim % config.heads != 0)
    throw std::invalid_argument("heads: " + std::to_string(config.heads) +
                                "; expected a divisor of dim (" + std::to_string(config.dim) + ")");
  if (config.feed_forward == 0) config.feed_forward = 4 * config.dim;
  return config;
}

nlohmann::json to_json(const Gpt2Config& config) {
  return {{"kind", "gpt2"},
          {"vocab", config.vocab},
          {"max_positions", config.max_positions},
          {"dim", config.dim},
          {"heads", config.heads},
          {"feed_forward", config.feed_forward},
          {"layers", config.layers},
          {"norm_eps", config.norm_eps},
          {"activation", config.activation},
          {"tied", config.tied},
          {"scale_scores", config.scale_scores},
          {"scale_layers", config.scale_layers},
          {"embedding_dropout", config.embedding_dropout},
          {"dropout", config.dropout},
          {"attention_dropout", config.attention_dropout}};
}

}  // namespace regard::nn
