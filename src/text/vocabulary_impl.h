// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sentencepiece_processor.h>

#include <string>

#include "regard/text/vocabulary.h"

namespace regard::text {

struct Vocabulary::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string bytes;  // the model as it lies in its file
};

}  // namespace regard::text
