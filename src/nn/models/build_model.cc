// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "nn/language/bert_config.h"
#include "nn/language/gpt2_config.h"
#include "nn/language/llama_config.h"
#include "nn/language/longformer_config.h"
#include "nn/models/seq2seq_config.h"
#include "nn/models/transformer_config.h"
#include "nn/vision/detr_config.h"
#include "nn/vision/image_configs.h"
#include "regard/nn/model.h"
#include "regard/nn/seq2seq.h"
#include "regard/nn/transformer.h"

namespace regard::nn {
namespace {

using nlohmann::json;

struct ModelKind {
  const char* name;
  std::shared_ptr<Model> (*make)(const json& config);
};

template <class Made, auto read>
std::shared_ptr<Model> made(const json& config) {
  return std::make_shared<Made>(read(config));
}

// A new kind of model is a line here.
const ModelKind kKinds[] = {
    {"bert", made<Bert, bert_config>},
    {"cat", made<Cat, cat_config>},
    {"crossvit", made<CrossVit, crossvit_config>},
    {"detr", made<Detr, detr_config>},
    {"gpt2", made<Gpt2, gpt2_config>},
    {"llama", made<Llama, llama_config>},
    {"longformer", made<Longformer, longformer_config>},
    {"seq2seq", made<Seq2Seq, seq2seq_config>},
    {"transformer", made<Transformer, transformer_config>},
    {"vit", made<Vit, vit_config>},
};

}  // namespace

std::vector<std::string> model_kinds() {
  std::vector<std::string> names;
  for (const ModelKind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

std::shared_ptr<Model> build_model(const json& config) {
  if (!config.is_object() || !config.contains("kind"))
    throw std::invalid_argument("config: expected a JSON object with \"kind\"");
  for (const ModelKind& kind : kKinds)
    if (config["kind"] == kind.name) return kind.make(config);
  std::string known;
  for (const ModelKind& kind : kKinds) known += std::string(known.empty() ? "" : ", ") + kind.name;
  throw std::invalid_argument("kind: " + config["kind"].dump() + "; expected one of " + known);
}

}  // namespace regard::nn
