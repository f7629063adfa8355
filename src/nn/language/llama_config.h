// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/llama.h"

namespace regard::nn {

// From and to JSON; std::invalid_argument by the field's name.
LlamaConfig llama_config(const nlohmann::json& json);
nlohmann::json to_json(const LlamaConfig& config);

}  // namespace regard::nn
