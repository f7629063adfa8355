// SPDX-License-Identifier: Apache-2.0
// Answers that stand in a document, by an encoder with a "span" head.
#pragma once

#include <cstdint>
#include <string>

#include "cli/encoder.h"

namespace regard::cli {

struct Span {
  std::string text;  // the document's own
  // Its characters (code points) in the document; -1 where tokens reach over blanks or a
  // word is very long: then `text` is what the tokens spell.
  std::int64_t start = 0, end = 0;
  double probability = 0;    // of its beginning times that of its end, in its window
  std::int64_t windows = 0;  // that the document was read in
  std::int64_t tokens = 0;   // of the document
};

// The likeliest span of at most `longest` tokens. A document that is longer
// than the model reads is read in windows that overlap by half.
// std::invalid_argument where the question leaves no room.
Span find_span(const Encoder& encoder, const std::string& question, const std::string& document,
               std::int64_t longest);

}  // namespace regard::cli
