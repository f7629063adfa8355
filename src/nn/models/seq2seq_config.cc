// SPDX-License-Identifier: Apache-2.0
#include "nn/models/seq2seq_config.h"

#include "nn/models/config_reader.h"

namespace regard::nn {

Seq2SeqConfig seq2seq_config(const nlohmann::json& json) {
  Seq2SeqConfig config;
  ConfigReader reader(json);
  reader.read("source_vocab", config.source_vocab, 4, kMostVocabulary);
  reader.read("target_vocab", config.target_vocab, 4, kMostVocabulary);
  reader.read("attention", config.attention,
              {"fixed", "bahdanau", "dot", "general", "concat", "location"});
  reader.read("reach", config.reach, {"global", "local-m", "local-p"});
  reader.read("window", config.window, 1, kMostDim);
  reader.read("input_feeding", config.input_feeding);
  reader.read("positions", config.positions, 1, kMostDim);
  reader.read("cell", config.cell, {"gru", "lstm", "rnn"});
  reader.read("layers", config.layers, 1, kMostLayers);
  reader.read("embedding", config.embedding, 1, kMostDim);
  reader.read("hidden", config.hidden, 1, kMostDim);
  reader.read("bidirectional", config.bidirectional);
  reader.read("attention_dim", config.attention_dim, 1, 2048);
  reader.read("maxout", config.maxout, 1, kMostDim);
  reader.read("dropout", config.dropout, 0, 1);
  reader.finish();
  return config;
}

nlohmann::json to_json(const Seq2SeqConfig& config) {
  return {{"kind", "seq2seq"},
          {"source_vocab", config.source_vocab},
          {"target_vocab", config.target_vocab},
          {"attention", config.attention},
          {"reach", config.reach},
          {"window", config.window},
          {"input_feeding", config.input_feeding},
          {"positions", config.positions},
          {"cell", config.cell},
          {"layers", config.layers},
          {"embedding", config.embedding},
          {"hidden", config.hidden},
          {"bidirectional", config.bidirectional},
          {"attention_dim", config.attention_dim},
          {"maxout", config.maxout},
          {"dropout", config.dropout}};
}

}  // namespace regard::nn
