// SPDX-License-Identifier: Apache-2.0
#include "nn/models/transformer_config.h"

#include "nn/models/config_reader.h"
#include "nn/modules/activation.h"

namespace regard::nn {

TransformerConfig transformer_config(const nlohmann::json& json) {
  TransformerConfig config;
  ConfigReader reader(json);
  reader.read("source_vocab", config.source_vocab, 4, kMostVocabulary);
  reader.read("target_vocab", config.target_vocab, 4, kMostVocabulary);
  reader.read("dim", config.dim, 2, kMostDim);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("kv_heads", config.kv_heads, 0, kMostDim);
  reader.read("feed_forward", config.feed_forward, 1, 4 * kMostDim);
  reader.read("encoder_layers", config.encoder_layers, 1, kMostLayers);
  reader.read("decoder_layers", config.decoder_layers, 1, kMostLayers);
  reader.read("norm", config.norm, {"pre", "post"});
  reader.read("activation", config.activation, activations());
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("final_norm", config.final_norm, {"auto", "yes", "no"});
  reader.read("embedding_norm", config.embedding_norm);
  reader.read("positions", config.positions, {"sinusoidal", "sinusoidal-halves", "learned"});
  reader.read("max_positions", config.max_positions, 1, std::int64_t{1} << 20);
  reader.read("scale_embedding", config.scale_embedding);
  reader.read("tied", config.tied, {"all", "target", "none"});
  reader.read("output_bias", config.output_bias);
  reader.read("first_token", config.first_token, 0, config.target_vocab - 1);
  reader.finish();
  if (config.tied == "all" && config.source_vocab != config.target_vocab)
    throw std::invalid_argument("tied: \"all\" needs one vocabulary; source_vocab is " +
                                std::to_string(config.source_vocab) + ", target_vocab " +
                                std::to_string(config.target_vocab));
  return config;
}

nlohmann::json to_json(const TransformerConfig& config) {
  return {{"kind", "transformer"},
          {"source_vocab", config.source_vocab},
          {"target_vocab", config.target_vocab},
          {"dim", config.dim},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"feed_forward", config.feed_forward},
          {"encoder_layers", config.encoder_layers},
          {"decoder_layers", config.decoder_layers},
          {"norm", config.norm},
          {"activation", config.activation},
          {"dropout", config.dropout},
          {"norm_eps", config.norm_eps},
          {"final_norm", config.final_norm},
          {"embedding_norm", config.embedding_norm},
          {"positions", config.positions},
          {"max_positions", config.max_positions},
          {"scale_embedding", config.scale_embedding},
          {"tied", config.tied},
          {"output_bias", config.output_bias},
          {"first_token", config.first_token}};
}

}  // namespace regard::nn
