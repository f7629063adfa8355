// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/seq2seq.h"

namespace regard::nn {

// Between a config and its JSON. std::invalid_argument by the field's name.
Seq2SeqConfig seq2seq_config(const nlohmann::json& json);
nlohmann::json to_json(const Seq2SeqConfig& config);

}  // namespace regard::nn
