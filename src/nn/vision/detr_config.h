// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/detr.h"

namespace regard::nn {

// std::invalid_argument names the field.
DetrConfig detr_config(const nlohmann::json& json);
nlohmann::json to_json(const DetrConfig& config);
ResNetOptions backbone_options(const DetrConfig& config);

}  // namespace regard::nn
