// SPDX-License-Identifier: Apache-2.0
// Normalizers: what a tokenizer.json does to a text before it is cut.
#pragma once

#include <functional>
#include <string>

#include "tokenizers/settings.h"

namespace regard::text {

// Text to text, both UTF-8.
using Normalizer = std::function<std::string(std::string)>;

// The `normalizer` of a tokenizer.json; the identity where it is null.
Normalizer normalizer_of(const Json& settings);

}  // namespace regard::text
