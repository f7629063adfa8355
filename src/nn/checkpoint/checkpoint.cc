// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/checkpoint.h"

#include <fstream>
#include <set>
#include <sstream>

#include "files/atomic_file.h"
#include "regard/nn/safetensors.h"

namespace regard::nn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Each module and its tensors, except those that another name has already (tied embeddings).
std::map<std::string, torch::Tensor> all_tensors(const torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> result;
  std::set<const void*> seen;
  for (const auto& entries : {module.named_parameters(), module.named_buffers()})
    for (const auto& entry : entries)
      if (entry.value().defined() && seen.insert(entry.value().unsafeGetTensorImpl()).second)
        result[entry.key()] = entry.value();
  return result;
}

json read_config(const fs::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  json config = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded() || !config.is_object())
    throw std::runtime_error(path.string() + ": not a JSON object");
  if (!config.contains("format") || config["format"] != kModelFormat)
    throw std::runtime_error(path.string() + ": \"format\" is " +
                             (config.contains("format") ? config["format"].dump() : "missing") +
                             "; this version reads " + std::to_string(kModelFormat));
  return config;
}

std::string shape_text(const torch::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.sizes() << " " << tensor.scalar_type();
  return text.str();
}

}  // namespace

std::map<std::string, torch::Tensor> named_tensors(const torch::nn::Module& module) {
  return all_tensors(module);
}

void save_model(const fs::path& folder, const Model& model) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw std::runtime_error(folder.string() + ": cannot be made: " + error.message());
  json config = model.config();
  config["format"] = kModelFormat;
  config["kind"] = model.kind();
  write_safetensors(folder / "model.safetensors",
                    {all_tensors(model), {{"format", "pt"}, {"config", config.dump()}}});
  files::write_file(folder / "config.json", config.dump(2) + "\n");
}

void load_tensors(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& tensors,
                  const std::string& what) {
  auto own = all_tensors(module);
  for (const auto& [name, tensor] : own) {
    const auto found = tensors.find(name);
    if (found == tensors.end())
      throw std::runtime_error(what + ": tensor \"" + name + "\" is missing");
    if (found->second.sizes() != tensor.sizes() ||
        found->second.scalar_type() != tensor.scalar_type())
      throw std::runtime_error(what + ": tensor \"" + name + "\" is " + shape_text(found->second) +
                               "; the model has " + shape_text(tensor));
  }
  for (const auto& entry : tensors)
    if (!own.contains(entry.first))
      throw std::runtime_error(what + ": tensor \"" + entry.first +
                               "\" belongs to nothing in the model");
  torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : own) tensor.copy_(tensors.at(name));
}

std::shared_ptr<Model> load_any_model(const fs::path& folder) {
  const fs::path config_path = folder / "config.json", weights_path = folder / "model.safetensors";
  json config = read_config(config_path);
  const TensorFile file = read_safetensors(weights_path);
  const auto written = file.metadata.find("config");
  if (written != file.metadata.end() &&
      json::parse(written->second, nullptr, /*allow_exceptions=*/false) != config)
    throw std::runtime_error(weights_path.string() +
                             ": written for another config than the config.json beside it (was a "
                             "save interrupted?); its own is " +
                             written->second);
  config.erase("format");
  std::shared_ptr<Model> model;
  try {
    model = build_model(config);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(config_path.string() + ": " + error.what());
  }
  load_tensors(*model, file.tensors, weights_path.string());
  model->eval();
  return model;
}

std::shared_ptr<SequenceModel> load_model(const fs::path& folder) {
  const std::shared_ptr<Model> model = load_any_model(folder);
  auto wanted = std::dynamic_pointer_cast<SequenceModel>(model);
  if (wanted == nullptr)
    throw std::runtime_error((folder / "config.json").string() + ": a model of the kind \"" +
                             model->kind() + "\"; expected " + SequenceModel::kWhat);
  return wanted;
}

}  // namespace regard::nn
