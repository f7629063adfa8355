// SPDX-License-Identifier: Apache-2.0
// Configs of vision models from JSON and back; std::invalid_argument by name.
#pragma once

#include <nlohmann/json.hpp>

#include "regard/nn/cat.h"
#include "regard/nn/crossvit.h"
#include "regard/nn/vit.h"

namespace regard::nn {

VitConfig vit_config(const nlohmann::json& json);
nlohmann::json to_json(const VitConfig& config);
CrossVitConfig crossvit_config(const nlohmann::json& json);
nlohmann::json to_json(const CrossVitConfig& config);
CatConfig cat_config(const nlohmann::json& json);
nlohmann::json to_json(const CatConfig& config);

}  // namespace regard::nn
