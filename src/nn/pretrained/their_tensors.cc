// SPDX-License-Identifier: Apache-2.0
#include "nn/pretrained/their_tensors.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "nn/pretrained/json_file.h"

namespace regard::nn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// "encoder.layers.3.norm1.weight" as ("encoder.layers.*.norm1.weight", {"3"}).
struct Pattern {
  std::string text;
  std::vector<std::string> numbers;
};

Pattern pattern_of(const std::string& name) {
  Pattern result;
  std::istringstream parts(name);
  for (std::string part; std::getline(parts, part, '.');) {
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
    if (number) result.numbers.push_back(part);
    if (!result.text.empty()) result.text += '.';
    result.text += number ? "*" : part;
  }
  return result;
}

std::string filled(std::string pattern, const std::vector<std::string>& numbers) {
  std::size_t at = 0;
  for (const std::string& number : numbers) {
    at = pattern.find('*', at);
    if (at == std::string::npos) break;
    pattern.replace(at, 1, number);
    at += number.size();
  }
  return pattern;
}

bool contains(const json& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

bool is_transposed(const json& map, const std::string& pattern) {
  return contains(map.value("transposed", json::array()), pattern);
}

std::string shape_text(torch::IntArrayRef sizes) {
  std::ostringstream text;
  text << sizes;
  return text.str();
}

// The tensors of model.safetensors, or of the files that model.safetensors.index.json names.
TensorFile read_weights(const fs::path& folder) {
  const fs::path index_path = folder / "model.safetensors.index.json";
  if (fs::exists(folder / "model.safetensors") || !fs::exists(index_path))
    return read_safetensors(folder / "model.safetensors");
  const json index = read_json_object(index_path);
  const json* files = value_at(index, "weight_map");
  if (files == nullptr || !files->is_object()) fail_file(index_path, "no \"weight_map\"");
  std::set<std::string> names;
  for (const auto& entry : files->items()) {
    const std::string name = entry.value().is_string() ? entry.value().get<std::string>() : "";
    if (name.empty() || fs::path(name).filename() != name)
      fail_file(index_path, "tensor \"" + entry.key() + "\" is in " + entry.value().dump() +
                                "; expected a file of the same folder");
    names.insert(name);
  }
  TensorFile whole;
  for (const std::string& name : names) {
    for (auto& [tensor, value] : read_safetensors(folder / name).tensors)
      if (!whole.tensors.emplace(tensor, value).second)
        fail_file(folder / name, "tensor \"" + tensor + "\" is in another file, too");
  }
  return whole;
}

}  // namespace

TheirTensors::TheirTensors(const fs::path& folder, const json& map)
    : folder_(folder), map_(map), prefix_(map.value("prefix", "")) {
  for (auto& [name, tensor] : read_weights(folder).tensors)
    if (!tensors_.emplace(canonical(name), tensor).second)
      fail_file(folder, "tensor \"" + name + "\" is there twice, under two names");
}

std::string TheirTensors::canonical(std::string name) const {
  const json replaced = map_.value("replaced", json::array());
  for (const json& pair : replaced)
    if (const std::size_t at = name.find(pair[0].get<std::string>()); at != std::string::npos)
      name.replace(at, pair[0].get<std::string>().size(), pair[1].get<std::string>());
  const json renamed = map_.value("renamed", json::object());
  for (const auto& [ending, now] : renamed.items())
    if (name.ends_with(ending))
      name.replace(name.size() - ending.size(), ending.size(), now.get<std::string>());
  return name.starts_with(prefix_) ? name.substr(prefix_.size()) : name;
}

std::vector<std::string> TheirTensors::names_of(const std::string& ours) const {
  const Pattern pattern = pattern_of(ours);
  const auto found = map_.at("tensors").find(pattern.text);
  if (found == map_["tensors"].end()) fail_file(folder_, "no map for our tensor \"" + ours + "\"");
  std::vector<std::string> names;
  for (const json& theirs : *found) names.push_back(filled(theirs, pattern.numbers));
  return names;
}

bool TheirTensors::has(const std::string& theirs) const {
  return tensors_.contains(canonical(theirs));
}

bool TheirTensors::has_ours(const std::string& ours) const {
  const auto names = names_of(ours);
  return std::all_of(names.begin(), names.end(), [&](const auto& name) { return has(name); });
}

torch::Tensor TheirTensors::take(const std::string& ours, const torch::Tensor& like) {
  const std::string pattern = pattern_of(ours).text;
  const std::vector<std::string> names = names_of(ours);
  const std::int64_t skipped =
      map_.value("skipped_rows", json::object()).value(pattern, std::int64_t{0});
  std::vector<torch::Tensor> parts;
  std::int64_t rows = 0;
  for (const std::string& name : names) {
    const auto found = tensors_.find(canonical(name));
    if (found == tensors_.end()) fail_file(folder_, "tensor \"" + name + "\" is missing");
    used_.insert(found->first);
    torch::Tensor part = found->second;
    if (part.dim() == 2 && is_transposed(map_, pattern)) part = part.t();
    if (skipped > 0 && part.dim() == 2 && part.size(0) > skipped)
      part = part.narrow(0, skipped, part.size(0) - skipped);
    if (part.dim() == 2 && part.size(0) == 1 && like.dim() == 1) part = part.squeeze(0);
    if (part.dim() != like.dim() || part.dim() == 0 ||
        part.sizes().slice(1) != like.sizes().slice(1))
      fail_file(folder_, "tensor \"" + name + "\" is " + shape_text(found->second.sizes()) +
                             "; by config.json it is a part of " + shape_text(like.sizes()));
    rows += part.size(0);
    parts.push_back(part);
  }
  if (rows != like.size(0))
    fail_file(folder_,
              "tensor \"" + names[0] + (names.size() > 1 ? "\" and those with it are " : "\" is ") +
                  std::to_string(rows) + " rows; by config.json " + std::to_string(like.size(0)));
  return (parts.size() == 1 ? parts[0] : torch::cat(parts)).to(torch::kFloat32);
}

void TheirTensors::check_all_used(bool other_head) const {
  std::set<std::string> unused;
  for (const json& name : map_.at("unused")) unused.insert(canonical(name.get<std::string>()));
  if (other_head)
    for (const auto& [ours, theirs] : map_.at("tensors").items())
      if (ours.starts_with("head.") || ours.starts_with("pooler."))
        for (const json& name : theirs) unused.insert(canonical(name.get<std::string>()));
  for (const auto& entry : tensors_)
    if (!used_.contains(entry.first) && !unused.contains(pattern_of(entry.first).text))
      fail_file(folder_, "tensor \"" + entry.first + "\" belongs to nothing in the model");
}

std::map<std::string, torch::Tensor> their_tensors(const std::map<std::string, torch::Tensor>& ours,
                                                   const json& config, const json& map, bool bare) {
  const std::string prefix = map.value("prefix", "");
  std::map<std::string, torch::Tensor> result;
  for (const auto& [name, tensor] : ours) {
    const Pattern pattern = pattern_of(name);
    const json& theirs = map.at("tensors").at(pattern.text);
    if (map.value("skipped_rows", json::object()).contains(pattern.text))
      throw std::invalid_argument("model: rows of \"" + name +
                                  "\" are not in it; it cannot be "
                                  "written for transformers");
    const json& fields = map.value("rows", json::object()).value(pattern.text, json::array());
    std::vector<std::int64_t> shares(theirs.size(), 1);
    for (std::size_t i = 0; i < fields.size(); ++i) shares[i] = config.at(fields[i]);
    std::int64_t all = 0, begin = 0;
    for (const std::int64_t share : shares) all += share;
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      const std::int64_t rows = tensor.size(0) / all * shares[i];
      torch::Tensor part = tensor.detach().narrow(0, begin, rows);
      begin += rows;
      if (part.dim() == 2 && is_transposed(map, pattern.text)) part = part.t();
      std::string their_name = filled(theirs[i], pattern.numbers);
      if (bare && their_name.starts_with(prefix)) their_name = their_name.substr(prefix.size());
      result[their_name] = part.to(torch::kFloat32).contiguous();
    }
  }
  return result;
}

}  // namespace regard::nn
