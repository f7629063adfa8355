// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/gpt2.h"

namespace regard::nn {

Gpt2Config gpt2_config(const nlohmann::json& json);
nlohmann::json to_json(const Gpt2Config& config);

}  // namespace regard::nn
