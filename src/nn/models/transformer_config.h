// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/transformer.h"

namespace regard::nn {

// Between a config and its JSON. std::invalid_argument by the field's name.
TransformerConfig transformer_config(const nlohmann::json& json);
nlohmann::json to_json(const TransformerConfig& config);

}  // namespace regard::nn
