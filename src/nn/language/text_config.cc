// SPDX-License-Identifier: Apache-2.0
#include "nn/language/text_config.h"

#include "nn/modules/activation.h"

namespace regard::nn {

void read_text_config(ConfigReader& reader, TextEncoderConfig& config) {
  reader.read("vocab", config.vocab, 1, kMostVocabulary);
  reader.read("dim", config.dim, 1, kMostDim);
  reader.read("heads", config.heads, 1, kMostDim);
  reader.read("feed_forward", config.feed_forward, 1, 4 * kMostDim);
  reader.read("layers", config.layers, 1, kMostLayers);
  reader.read("max_positions", config.max_positions, 1, std::int64_t{1} << 30);
  reader.read("segments", config.segments, 1, 65'536);
  reader.read("norm_eps", config.norm_eps, 0, 1);
  reader.read("activation", config.activation, activations());
  reader.read("positions", config.positions, {"absolute", "after-pad"});
  reader.read("pad_token", config.pad_token, 0, kMostVocabulary);
  reader.read("dropout", config.dropout, 0, 1);
  reader.read("attention_dropout", config.attention_dropout, 0, 1);
  reader.read("head_dropout", config.head_dropout, -1, 1);
  reader.read("pooler", config.pooler);
  reader.read("head", config.head, {"none", "masked-lm", "sequence", "tokens", "span"});
  reader.read("labels", config.labels);
}

void settle_text_config(TextEncoderConfig& config, bool first_token_head) {
  if (config.head != "none") config.pooler = config.head == "sequence" && !first_token_head;

  if (config.dim % config.heads != 0)
    throw std::invalid_argument("heads: " + std::to_string(config.heads) +
                                "; expected a divisor of dim (" + std::to_string(config.dim) + ")");
  if (config.positions == "after-pad" && config.max_positions <= config.pad_token + 1)
    throw std::invalid_argument("max_positions: " + std::to_string(config.max_positions) +
                                "; expected more than pad_token + 1 (" +
                                std::to_string(config.pad_token + 1) + ")");
  if (config.labels.empty()) throw std::invalid_argument("labels: none; expected at least one");
}

nlohmann::json text_config_json(const TextEncoderConfig& config, const char* kind) {
  return {{"kind", kind},
          {"vocab", config.vocab},
          {"dim", config.dim},
          {"heads", config.heads},
          {"feed_forward", config.feed_forward},
          {"layers", config.layers},
          {"max_positions", config.max_positions},
          {"segments", config.segments},
          {"norm_eps", config.norm_eps},
          {"activation", config.activation},
          {"positions", config.positions},
          {"pad_token", config.pad_token},
          {"dropout", config.dropout},
          {"attention_dropout", config.attention_dropout},
          {"head_dropout", config.head_dropout},
          {"pooler", config.pooler},
          {"head", config.head},
          {"labels", config.labels}};
}

}  // namespace regard::nn
