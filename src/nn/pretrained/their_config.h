// SPDX-License-Identifier: Apache-2.0
// transformers' config.json as our config and back, by the map of its model type.
//
// A map (src/nn/pretrained/*.json) has
//   fields    {ours: theirs}; a list of names must all agree, of {"first_of", "default"} the first
//             that is there counts; "a/b" is b in the object a; with "written_with": {ours: values}
//             it is written even where it is the default, if that field of ours has such a value
//   values    our fields that the type fixes
//   served    theirs that no module of ours has, with the values that are served
//   heads     {our head: classes of theirs with that head}; "" for models without a choice
//   labels    true where "id2label" are our "labels"
//   present   {our field: a tensor}; the field says whether the checkpoint has the tensor
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace regard::nn {

// std::runtime_error with the file's name. `has` says whether there is a tensor of that name.
nlohmann::json our_config(const std::filesystem::path& path, const nlohmann::json& theirs,
                          const nlohmann::json& map,
                          const std::function<bool(const std::string&)>& has);

// `origin` (an object), with what is different in `ours`.
nlohmann::json their_config(const std::string& model_type, const nlohmann::json& origin,
                            const nlohmann::json& ours, const nlohmann::json& map);

}  // namespace regard::nn
