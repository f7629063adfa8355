// SPDX-License-Identifier: Apache-2.0
// The tensors of transformers' checkpoints under our names and back, by the map of a model type.
//
// A map (src/nn/pretrained/*.json) has
//   tensors       {ours: [theirs]}, theirs row under row; * is a number between dots
//   prefix        what a bare model leaves out of their names
//   replaced      [[part, part]], in this order: what another library's layout calls otherwise
//   renamed       {ending: ending}, what older checkpoints call otherwise
//   transposed    ours whose parts lie transposed in their files
//   rows          {ours: [fields]}: parts have rows in proportion to these fields of our config;
//                 all the same where it is not named
//   skipped_rows  {ours: rows of theirs that are left out at the beginning}
//   unused        theirs that no module of ours needs
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "regard/nn/safetensors.h"

namespace regard::nn {

class TheirTensors {
 public:
  // Reads model.safetensors, or the files that model.safetensors.index.json names.
  TheirTensors(const std::filesystem::path& folder, const nlohmann::json& map);

  bool has(const std::string& theirs) const;
  // Whether all that ours is made of are there.
  bool has_ours(const std::string& ours) const;
  // Ours, of the shape of `like`, in float32. std::runtime_error by their name.
  torch::Tensor take(const std::string& ours, const torch::Tensor& like);
  // After all were taken: std::runtime_error where one is left that belongs to nothing. With
  // `other_head`, those of any head may be left.
  void check_all_used(bool other_head) const;

 private:
  std::string canonical(std::string name) const;
  std::vector<std::string> names_of(const std::string& ours) const;

  std::filesystem::path folder_;
  const nlohmann::json& map_;
  std::string prefix_;
  std::map<std::string, torch::Tensor> tensors_;  // by their names without the prefix
  std::set<std::string> used_;
};

// Our tensors under their names. `bare` leaves the prefix out. std::invalid_argument where the map
// does not say how.
std::map<std::string, torch::Tensor> their_tensors(const std::map<std::string, torch::Tensor>& ours,
                                                   const nlohmann::json& config,
                                                   const nlohmann::json& map, bool bare);

}  // namespace regard::nn
