// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/pretrained.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "nn/pretrained/name_maps.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/safetensors.h"

namespace regard::nn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw std::runtime_error(path.string() + ": " + what);
}

json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) fail(path, "cannot be read");
  json parsed = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) fail(path, "not a JSON object");
  return parsed;
}

json map_for(const fs::path& path, const json& config) {
  const json type = config.value("model_type", json());
  std::string known;
  for (const NameMap& map : name_maps()) {
    if (type == map.type) return json::parse(map.json);
    known += (known.empty() ? "" : ", ") + map.type;
  }
  fail(path, "model_type is " + type.dump() + "; expected one of " + known);
}

// The value at "a/b/c", or nothing where there is none or null.
const json* value_at(const json& config, const std::string& path) {
  const json* at = &config;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const auto found = at->find(path.substr(begin, end - begin));
    if (found == at->end() || found->is_null()) return nullptr;
    at = &*found;
    begin = end + 1;
  }
  return at;
}

// A field of theirs. Of several names in a list, all must agree (two stacks that our config does
// not tell apart); of those in "first_of", the first that is there counts, or else the default.
json their_field(const fs::path& path, const json& config, const json& names) {
  if (names.is_string()) {
    if (!config.contains(names)) fail(path, names.get<std::string>() + " is missing");
    return config[names.get<std::string>()];
  }
  if (names.is_object()) {
    for (const json& name : names.at("first_of"))
      if (const json* found = value_at(config, name)) return *found;
    return names.at("default");
  }
  const json first = their_field(path, config, names.at(0));
  for (const json& name : names)
    if (their_field(path, config, name) != first)
      fail(path, name.get<std::string>() + " differs from " + names[0].get<std::string>() +
                     ", which is not served");
  return first;
}

json our_config(const fs::path& path, const json& config, const json& map) {
  json ours = map.at("values");
  for (const auto& [name, theirs] : map.at("fields").items())
    ours[name] = their_field(path, config, theirs);
  if (ours["activation"] == "swish") ours["activation"] = "silu";
  // Settings that no module of ours has: served only with one of these values, or absent.
  for (const auto& [name, served] : map.at("served").items()) {
    const json* given = value_at(config, name);
    if (given != nullptr && std::find(served.begin(), served.end(), *given) == served.end())
      fail(path, name + ": " + given->dump() + " is not served; expected " + served[0].dump());
  }
  return ours;
}

// "encoder.layers.3.norm1.weight" as ("encoder.layers.*.norm1.weight", "3"): the only number
// between dots is that of a layer.
std::pair<std::string, std::string> pattern_of(const std::string& name) {
  const std::size_t at = name.find("layers.");
  if (at == std::string::npos) return {name, ""};
  const std::size_t begin = at + 7, end = name.find('.', begin);
  return {name.substr(0, begin) + "*" + name.substr(end), name.substr(begin, end - begin)};
}

torch::Tensor tensor_for(const fs::path& path, const std::string& name, const torch::Tensor& like,
                         const json& map, const TensorFile& file, std::set<std::string>& used) {
  const auto [pattern, layer] = pattern_of(name);
  if (!map.at("tensors").contains(pattern)) fail(path, "no map for our tensor \"" + name + "\"");
  std::vector<torch::Tensor> parts;
  for (std::string theirs : map["tensors"][pattern].get<std::vector<std::string>>()) {
    if (const std::size_t star = theirs.find('*'); star != std::string::npos)
      theirs.replace(star, 1, layer);
    const auto found = file.tensors.find(theirs);
    if (found == file.tensors.end()) fail(path, "tensor \"" + theirs + "\" is missing");
    used.insert(theirs);
    parts.push_back(found->second);
  }
  torch::Tensor whole = parts.size() == 1 ? parts[0] : torch::cat(parts);
  const std::int64_t skipped = map["skipped_rows"].value(pattern, std::int64_t{0});
  if (skipped > 0 && whole.dim() == 2 && whole.size(0) > skipped)
    whole = whole.narrow(0, skipped, whole.size(0) - skipped);
  if (whole.dim() == 2 && whole.size(0) == 1 && like.dim() == 1) whole = whole.squeeze(0);
  return whole.to(torch::kFloat32);
}

// The tensors of model.safetensors, or of the files that model.safetensors.index.json names.
TensorFile read_weights(const fs::path& folder) {
  const fs::path index_path = folder / "model.safetensors.index.json";
  if (fs::exists(folder / "model.safetensors") || !fs::exists(index_path))
    return read_safetensors(folder / "model.safetensors");
  const json index = read_json(index_path);
  const json* files = value_at(index, "weight_map");
  if (files == nullptr || !files->is_object()) fail(index_path, "no \"weight_map\"");
  std::set<std::string> names;
  for (const auto& entry : files->items()) {
    const std::string name = entry.value().is_string() ? entry.value().get<std::string>() : "";
    if (name.empty() || fs::path(name).filename() != name)
      fail(index_path, "tensor \"" + entry.key() + "\" is in " + entry.value().dump() +
                           "; expected a file of the same folder");
    names.insert(name);
  }
  TensorFile whole;
  for (const std::string& name : names) {
    for (auto& [tensor, value] : read_safetensors(folder / name).tensors)
      if (!whole.tensors.emplace(tensor, value).second)
        fail(folder / name, "tensor \"" + tensor + "\" is in another file, too");
  }
  return whole;
}

}  // namespace

std::vector<std::string> pretrained_types() {
  std::vector<std::string> types;
  for (const NameMap& map : name_maps()) types.push_back(map.type);
  return types;
}

std::shared_ptr<SequenceModel> load_pretrained(const fs::path& folder) {
  const fs::path config_path = folder / "config.json", weights_path = folder;
  const json config = read_json(config_path);
  const json map = map_for(config_path, config);
  std::shared_ptr<SequenceModel> model;
  try {
    model = make_model(our_config(config_path, config, map));
  } catch (const std::invalid_argument& error) {
    fail(config_path, error.what());
  }
  const TensorFile file = read_weights(folder);
  std::set<std::string> used;
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& [name, like] : named_tensors(*model))
    tensors[name] = tensor_for(weights_path, name, like, map, file, used);
  for (const auto& entry : file.tensors) {
    const auto& unused = map.at("unused");
    if (!used.contains(entry.first) &&
        std::find(unused.begin(), unused.end(), entry.first) == unused.end())
      fail(weights_path, "tensor \"" + entry.first + "\" belongs to nothing in the model");
  }
  load_tensors(*model, tensors, weights_path.string());
  model->eval();
  return model;
}

}  // namespace regard::nn
