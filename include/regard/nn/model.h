// SPDX-License-Identifier: Apache-2.0
// What every model of this library is: a module that a config (JSON) describes. Kinds of models
// derive from it: SequenceModel (regard/nn/sequence_model.h), TextEncoder
// (regard/nn/text_encoder.h).
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace regard::nn {

class Model : public torch::nn::Module {
 public:
  // The model's kind and its config, from which build_model() makes it again.
  virtual std::string kind() const = 0;
  virtual nlohmann::json config() const = 0;

  // The config.json of transformers that the model was opened with, or null. What this library has
  // no field for (the ids of special tokens, say) stands there, and is written again when the
  // model is saved.
  nlohmann::json origin;

  // Training in less memory (Chen et al. 2016, arXiv 1604.06174): the forward pass keeps each
  // layer's input alone, and the backward pass computes the layer again, with the same dropout.
  // Gradients are the same; a step has one forward pass more to make. Offered by BERT, RoBERTa,
  // Longformer, GPT-2, Llama, ViT and DeiT; std::logic_error by the others.
  void recompute_layers(bool on);
  virtual bool can_recompute_layers() const { return false; }

 protected:
  // run(x), a layer's work, once or, as above, twice: `run` holds what it reads by value.
  torch::Tensor run_layer(const torch::nn::Module& layer, const torch::Tensor& x,
                          std::function<torch::Tensor(const torch::Tensor&)> run) const;

 private:
  bool recomputes_layers_ = false;
};

// The model that a config describes, with newly drawn parameters: "kind" is one of model_kinds(),
// the rest is what that kind's header says. A key that the kind does not know, or a value that does
// not serve, is std::invalid_argument by name.
std::shared_ptr<Model> build_model(const nlohmann::json& config);
std::vector<std::string> model_kinds();

}  // namespace regard::nn
