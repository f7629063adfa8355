// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/pretrained.h"

#include "files/atomic_file.h"
#include "nn/pretrained/json_file.h"
#include "nn/pretrained/name_maps.h"
#include "nn/pretrained/their_config.h"
#include "nn/pretrained/their_tensors.h"
#include "regard/nn/checkpoint.h"

namespace regard::nn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string known_types() {
  std::string known;
  for (const NameMap& map : name_maps()) known += (known.empty() ? "" : ", ") + map.type;
  return known;
}

json map_for(const fs::path& path, const json& config) {
  const json type = config.value("model_type", json());
  for (const NameMap& map : name_maps())
    if (type == map.type) return json::parse(map.json);
  fail_file(path, "model_type is " + type.dump() + "; expected one of " + known_types());
}

// The type of transformers' that a model is, with its map: its origin's, or else the first that
// fixes no field of ours otherwise than the model has it.
std::pair<std::string, json> type_of(const Model& model) {
  const json config = model.config();
  for (const NameMap& map : name_maps()) {
    if (model.origin.is_object() && model.origin.value("model_type", map.type) != map.type)
      continue;
    json parsed = json::parse(map.json);
    bool fits = parsed.value("written", true);
    for (const auto& [name, value] : parsed.at("values").items())
      fits &= (name == "kind" ? json(model.kind()) : config.value(name, json())) == value;
    if (fits) return {map.type, std::move(parsed)};
  }
  throw std::invalid_argument("model: of the kind \"" + model.kind() +
                              "\", which transformers has not");
}

bool differs(const json& a, const json& b, const char* field) {
  return a.value(field, json()) != b.value(field, json());
}

bool belongs_to_head(const std::string& name) {
  return name.starts_with("head.") || name.starts_with("pooler.");
}

// What a checkpoint may have for another head as well: no class of its labels is in it.
bool keeps(const json& config, const std::string& name) {
  return config.value("head", "") == "masked-lm" || name.starts_with("pooler.");
}

}  // namespace

std::vector<std::string> pretrained_types() {
  std::vector<std::string> types;
  for (const NameMap& map : name_maps()) types.push_back(map.type);
  return types;
}

std::shared_ptr<Model> open_model(const fs::path& folder, const json& changes) {
  const fs::path config_path = folder / "config.json";
  const json config = read_json_object(config_path);
  if (config.contains("kind") && !config.contains("model_type")) {
    if (!changes.empty())
      throw std::invalid_argument("changes: " + changes.dump() + "; " + folder.string() +
                                  " is a model of this library, which is opened as it is");
    return load_any_model(folder);
  }
  const json map = map_for(config_path, config);
  TheirTensors theirs(folder, map);
  json ours =
      our_config(config_path, config, map, [&](const auto& name) { return theirs.has(name); });
  const json found = ours;
  if (!changes.is_null()) ours.update(changes);
  const bool other_head = differs(found, ours, "head") || differs(found, ours, "labels");
  std::shared_ptr<Model> model;
  try {
    model = build_model(ours);
  } catch (const std::invalid_argument& error) {
    fail_file(config_path, error.what());
  }
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& [name, like] : named_tensors(*model)) {
    const bool drawn =
        other_head && belongs_to_head(name) && !(keeps(ours, name) && theirs.has_ours(name));
    tensors[name] = drawn ? like.clone() : theirs.take(name, like);
  }
  theirs.check_all_used(other_head);
  load_tensors(*model, tensors, folder.string());
  model->origin = config;
  model->eval();
  return model;
}

void save_pretrained(const fs::path& folder, const Model& model) {
  const auto [type, map] = type_of(model);
  const json ours = model.config();
  const bool bare = ours.value("head", "") == "none";
  const auto tensors = their_tensors(named_tensors(model), ours, map, bare);
  const json origin = model.origin.is_object() ? model.origin : json::object();
  const json config = their_config(type, origin, ours, map);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail_file(folder, "cannot be made: " + error.message());
  write_safetensors(folder / "model.safetensors", {tensors, {{"format", "pt"}}});
  files::write_file(folder / "config.json", config.dump(2) + "\n");
}

void refuse_model(const fs::path& folder, const Model& model, const char* wanted) {
  fail_file(folder, "a model of the kind \"" + model.kind() + "\"; expected " + wanted);
}

}  // namespace regard::nn
