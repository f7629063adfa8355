// SPDX-License-Identifier: Apache-2.0
// Models in folders: those of Hugging Face's transformers, with the same weights and outputs that
// agree to rounding, and those that save_model() wrote.
//
//   auto bert = regard::nn::open_model<regard::nn::TextEncoder>("bert-base-uncased");
//   auto any = regard::nn::open_model("some/folder");  // any->kind() says what it is
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "regard/nn/model.h"
#include "regard/nn/sequence_model.h"

namespace regard::nn {

// Reads a folder with config.json and model.safetensors (or several files and
// model.safetensors.index.json), which transformers' `save_pretrained` or save_model() wrote; in
// evaluation mode. Of transformers' models the config's "model_type" says what they are; which
// types there are, which of our tensors are which of theirs, and how their configs translate, is
// data: one file a type in src/nn/pretrained. Weights become float32.
//
// `changes` are fields of our config to be set before the model is made, for fine-tuning:
// {{"dropout", 0.0}}, or {{"head", "sequence"}, {"labels", {"bad", "good"}}}, whose parameters are
// then newly drawn.
//
// std::runtime_error with the file's name for a type that is not among pretrained_types(), a config
// that this library has no module for, or tensors that are missing, too many or of another shape.
std::shared_ptr<Model> open_model(const std::filesystem::path& folder,
                                  const nlohmann::json& changes = {});
// The values of "model_type" that are served.
std::vector<std::string> pretrained_types();

// Writes config.json and model.safetensors as transformers reads them: from_pretrained() of the
// class that belongs to the model and its head gives the same model. Each file is replaced at once
// or not at all, the weights first. std::invalid_argument for a kind that transformers has not.
void save_pretrained(const std::filesystem::path& folder, const Model& model);

// std::runtime_error: the folder's model is not `wanted`.
[[noreturn]] void refuse_model(const std::filesystem::path& folder, const Model& model,
                               const char* wanted);

// The same where one kind of model is wanted (SequenceModel, CausalLM, TextEncoder); another one is
// std::runtime_error.
template <class Wanted>
std::shared_ptr<Wanted> open_model(const std::filesystem::path& folder,
                                   const nlohmann::json& changes = {}) {
  const std::shared_ptr<Model> model = open_model(folder, changes);
  auto wanted = std::dynamic_pointer_cast<Wanted>(model);
  if (wanted == nullptr) refuse_model(folder, *model, Wanted::kWhat);
  return wanted;
}

}  // namespace regard::nn
