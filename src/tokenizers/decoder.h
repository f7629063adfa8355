// SPDX-License-Identifier: Apache-2.0
// Decoders: tokens become text again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tokenizers/settings.h"

namespace regard::text {

// Steps from tokens to the parts of a text, which are put together without blanks.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;

// The `decoder` of a tokenizer.json; where it is null, blanks join the tokens.
Decoder decoder_of(const Json& settings);

}  // namespace regard::text
