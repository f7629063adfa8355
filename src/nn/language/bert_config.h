// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/bert.h"

namespace regard::nn {

// From JSON; std::invalid_argument by the field's name.
BertConfig bert_config(const nlohmann::json& json);

}  // namespace regard::nn
