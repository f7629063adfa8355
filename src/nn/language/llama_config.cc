// SPDX-License-Identifier: Apache-2.0
#include "nn/language/llama_config.h"

#include "nn/models/config_reader.h"

namespace regard::nn {

LlamaConfig llama_config(const nlohmann::json& json) {
  LlamaConfig config;
  ConfigReader reader(json);
  reader.read("vocab", config.vocab, 4, kMostVocabulary);
  reader.read("dim", config.dim, 2, kMostDim);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("kv_heads", config.kv_heads, 0, kMostDim);
  reader.read("head_dim", config.head_dim, 0, 512);
  reader.read("feed_forward", config.feed_forward, 1, 4 * kMostDim);
  reader.read("layers", config.layers, 1, kMostLayers);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("rope_theta", config.rotary.theta, 1, 1e12);
  reader.read("rope_type", config.rotary.type, {"default", "linear", "llama3"});
  reader.read("rope_factor", config.rotary.factor, 1, 1e6);
  reader.read("rope_low_frequency_factor", config.rotary.low_frequency_factor, 0, 1e6);
  reader.read("rope_high_frequency_factor", config.rotary.high_frequency_factor, 0, 1e6);
  reader.read("rope_original_length", config.rotary.original_length, 1, std::int64_t{1} << 30);
  reader.read("tied", config.tied);
  reader.read("attention_bias", config.attention_bias);
  reader.read("activation", config.activation, {"silu"});
  reader.finish();
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  if (config.head_dim == 0) config.head_dim = config.dim / config.heads;
  if (config.heads % config.kv_heads != 0)
    throw std::invalid_argument("kv_heads: " + std::to_string(config.kv_heads) +
                                "; expected a divisor of heads (" + std::to_string(config.heads) +
                                ")");
  if (config.head_dim < 2 || config.head_dim % 2 != 0)
    throw std::invalid_argument("head_dim: " + std::to_string(config.head_dim) +
                                "; expected an even number from 2");
  return config;
}

nlohmann::json to_json(const LlamaConfig& config) {
  return {{"kind", "llama"},
          {"vocab", config.vocab},
          {"dim", config.dim},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"head_dim", config.head_dim},
          {"feed_forward", config.feed_forward},
          {"layers", config.layers},
          {"norm_eps", config.norm_eps},
          {"rope_theta", config.rotary.theta},
          {"rope_type", config.rotary.type},
          {"rope_factor", config.rotary.factor},
          {"rope_low_frequency_factor", config.rotary.low_frequency_factor},
          {"rope_high_frequency_factor", config.rotary.high_frequency_factor},
          {"rope_original_length", config.rotary.original_length},
          {"tied", config.tied},
          {"attention_bias", config.attention_bias},
          {"activation", config.activation}};
}

}  // namespace regard::nn
