// SPDX-License-Identifier: Apache-2.0
// The fields that configs of encoders share, from and to JSON.
#pragma once

#include "nn/models/config_reader.h"
#include "regard/nn/text_encoder.h"

namespace regard::nn {

// std::invalid_argument by the field's name.
void read_text_config(ConfigReader& reader, TextEncoderConfig& config);
// What depends on other fields. A model with a head has a pooler where the head reads it.
void settle_text_config(TextEncoderConfig& config, bool first_token_head);
nlohmann::json text_config_json(const TextEncoderConfig& config, const char* kind);

}  // namespace regard::nn
