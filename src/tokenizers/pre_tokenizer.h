// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizers: a text is cut into the words that a model takes one by one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tokenizers/settings.h"

namespace regard::text {

// A part of a text. `first` tells the part that begins the whole text.
struct Word {
  std::string text;
  bool first = false;
};

using PreTokenizer = std::function<std::vector<Word>(std::vector<Word>)>;

// The `pre_tokenizer` of a tokenizer.json; the identity where it is null.
PreTokenizer pre_tokenizer_of(const Json& settings);

}  // namespace regard::text
