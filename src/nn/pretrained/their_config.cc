// SPDX-License-Identifier: Apache-2.0
#include "nn/pretrained/their_config.h"

#include <algorithm>
#include <set>

#include "nn/pretrained/json_file.h"

namespace regard::nn {
namespace {

using nlohmann::json;

// Activations that transformers has under other names; the first name is the one we write.
const std::pair<const char*, const char*> kActivations[] = {
    {"silu", "swish"},
    {"gelu_tanh", "gelu_new"},
    {"gelu_tanh", "gelu_pytorch_tanh"},
    {"gelu_tanh", "gelu_fast"},
};

json our_value(const std::string& name, const json& theirs) {
  if (name == "activation")
    for (const auto& [ours, other] : kActivations)
      if (theirs == other) return ours;
  return theirs;
}

json their_value(const std::string& name, const json& ours) {
  if (name == "activation" && ours == "gelu_tanh") return "gelu_new";
  return ours;
}

json their_field(const std::filesystem::path& path, const json& config, const json& names) {
  if (names.is_string()) {
    if (!config.contains(names)) fail_file(path, names.get<std::string>() + " is missing");
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
      fail_file(path, name.get<std::string>() + " differs from " + names[0].get<std::string>() +
                          ", which is not served");
  return first;
}

// {"0": "bad", "1": "good"} as ["bad", "good"]; without names, as many as num_labels says.
json our_labels(const std::filesystem::path& path, const json& config) {
  const json* given = value_at(config, "id2label");
  json labels = json::array();
  if (given == nullptr) {
    const json count = config.value("num_labels", json(2));
    if (!count.is_number_integer() || count < 1 || count > 1'000'000)
      fail_file(path, "num_labels: " + count.dump() + "; expected a number from 1");
    for (std::int64_t i = 0; i < count; ++i) labels.push_back("LABEL_" + std::to_string(i));
    return labels;
  }
  for (std::size_t i = 0; given->is_object() && i < given->size(); ++i) {
    const auto label = given->find(std::to_string(i));
    if (label == given->end() || !label->is_string())
      fail_file(path, "id2label: no text for " + std::to_string(i));
    labels.push_back(*label);
  }
  if (labels.empty()) fail_file(path, "id2label: " + given->dump() + "; expected labels");
  return labels;
}

std::string our_head(const std::filesystem::path& path, const json& config, const json& map) {
  const json* given = value_at(config, "architectures");
  if (given == nullptr || !given->is_array() || given->empty()) return "none";
  std::string known;
  for (const auto& [head, classes] : map["heads"].items())
    for (const json& name : classes) {
      if (name == given->at(0)) return head;
      known += (known.empty() ? "" : ", ") + name.get<std::string>();
    }
  fail_file(path,
            "architectures: " + given->at(0).dump() + " is not served; expected one of " + known);
}

void set_at(json& object, const std::string& path, const json& value) {
  const std::size_t slash = path.find('/');
  if (slash == std::string::npos)
    object[path] = value;
  else
    set_at(object[path.substr(0, slash)], path.substr(slash + 1), value);
}

// Puts a field where `names` would read it.
void set_field(json& config, const json& names, const json& value) {
  if (names.is_string()) {
    config[names.get<std::string>()] = value;
  } else if (names.is_array()) {
    for (const json& name : names) set_field(config, name, value);
  } else {
    for (const json& name : names.at("first_of"))
      if (value_at(config, name) != nullptr) return set_at(config, name, value);
    set_at(config, names["first_of"][0], value);
  }
}

bool reads_as(const json& config, const std::string& name, const json& names, const json& value) {
  try {
    const json* found = names.is_string() ? value_at(config, names) : nullptr;
    if (names.is_string() && found == nullptr) return false;
    return our_value(name, their_field("", config, names)) == value;
  } catch (const std::exception&) {
    return false;  // none there yet
  }
}

// Whether a field has to be there even where it has its default.
bool must_stand(const json& names, const json& ours) {
  if (!names.is_object() || !names.contains("written_with")) return false;
  for (const auto& [other, values] : names["written_with"].items())
    if (std::find(values.begin(), values.end(), ours.at(other)) == values.end()) return false;
  return true;
}

}  // namespace

json our_config(const std::filesystem::path& path, const json& theirs, const json& map,
                const std::function<bool(const std::string&)>& has) {
  json ours = map.at("values");
  for (const auto& [name, names] : map.at("fields").items())
    ours[name] = our_value(name, their_field(path, theirs, names));
  // Settings that no module of ours has: served only with one of these values, or absent.
  for (const auto& [name, served] : map.at("served").items()) {
    const json* given = value_at(theirs, name);
    if (given != nullptr && std::find(served.begin(), served.end(), *given) == served.end())
      fail_file(path, name + ": " + given->dump() + " is not served; expected " + served[0].dump());
  }
  if (map.contains("heads")) {
    const std::string head = our_head(path, theirs, map);
    if (!map["heads"].contains("")) ours["head"] = head;
  }
  if (map.value("labels", false)) ours["labels"] = our_labels(path, theirs);
  const json present = map.value("present", json::object());
  for (const auto& [name, tensor] : present.items()) ours[name] = has(tensor.get<std::string>());
  return ours;
}

json their_config(const std::string& model_type, const json& origin, const json& ours,
                  const json& map) {
  json config = origin;
  config["model_type"] = model_type;
  for (const auto& [name, names] : map.at("fields").items())
    if (must_stand(names, ours) || !reads_as(config, name, names, ours.at(name)))
      set_field(config, names, their_value(name, ours.at(name)));
  if (map.contains("heads")) {
    const std::string head = map["heads"].contains("") ? "" : ours.at("head").get<std::string>();
    config["architectures"] = {map["heads"].at(head).at(0)};
  }
  if (map.value("labels", false)) {
    config["id2label"] = config["label2id"] = json::object();
    const json& labels = ours.at("labels");
    for (std::size_t i = 0; i < labels.size(); ++i) {
      config["id2label"][std::to_string(i)] = labels[i];
      config["label2id"][labels[i].get<std::string>()] = i;
    }
    config.erase("num_labels");
  }
  config.erase("torch_dtype");
  config["dtype"] = "float32";
  return config;
}

}  // namespace regard::nn
