// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/sequence_model.h"

#include <stdexcept>

#include "nn/language/llama_config.h"
#include "nn/models/seq2seq_config.h"
#include "nn/models/transformer_config.h"
#include "regard/nn/seq2seq.h"
#include "regard/nn/transformer.h"

namespace regard::nn {
namespace {

struct ModelKind {
  const char* name;
  std::shared_ptr<SequenceModel> (*make)(const nlohmann::json& config);
};

// A new kind of model is a line here.
const ModelKind kKinds[] = {
    {"llama",
     [](const nlohmann::json& config) -> std::shared_ptr<SequenceModel> {
       return std::make_shared<Llama>(llama_config(config));
     }},
    {"seq2seq",
     [](const nlohmann::json& config) -> std::shared_ptr<SequenceModel> {
       return std::make_shared<Seq2Seq>(seq2seq_config(config));
     }},
    {"transformer",
     [](const nlohmann::json& config) -> std::shared_ptr<SequenceModel> {
       return std::make_shared<Transformer>(transformer_config(config));
     }},
};

}  // namespace

torch::Tensor SequenceModel::forward(const torch::Tensor& source,
                                     const torch::Tensor& source_lengths,
                                     const torch::Tensor& target_in) {
  return logits(features(source, source_lengths, target_in));
}

torch::Tensor SequenceModel::first_tokens(const torch::Tensor& source, const torch::Tensor&) const {
  return torch::full({source.size(0)}, kBegin, torch::kInt64);
}

std::vector<std::string> model_kinds() {
  std::vector<std::string> names;
  for (const ModelKind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

std::shared_ptr<SequenceModel> make_model(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("kind"))
    throw std::invalid_argument("config: expected a JSON object with \"kind\"");
  for (const ModelKind& kind : kKinds)
    if (config["kind"] == kind.name) return kind.make(config);
  std::string known;
  for (const ModelKind& kind : kKinds) known += std::string(known.empty() ? "" : ", ") + kind.name;
  throw std::invalid_argument("kind: " + config["kind"].dump() + "; expected one of " + known);
}

}  // namespace regard::nn
