// SPDX-License-Identifier: Apache-2.0
// What a model looked at, word by word.
#pragma once

#include <string>
#include <vector>

#include "regard/nn/sequence_model.h"
#include "regard/text/vocabulary.h"

namespace regard::generate {

struct WordAlignment {
  std::vector<std::string> source, target;  // words, each with the end token last
  std::vector<double> weights;              // (target, source); each row adds up to 1
};

// The weights with which the model reads `source` when it is made to write `target` (teacher
// forcing), the mean over its heads. Of pieces to words: a source word's weight is the sum over its
// pieces, a target word's row the mean over its pieces, so that rows still add up to 1.
// std::invalid_argument for a text without words; std::logic_error for a model without attention.
WordAlignment align_words(nn::SequenceModel& model, const text::Vocabulary& vocabulary,
                          const std::string& source, const std::string& target);

// Of pieces to words, as above: weights (target pieces, source pieces).
WordAlignment join_pieces(const torch::Tensor& weights, const text::Vocabulary::Words& source,
                          const text::Vocabulary::Words& target);

}  // namespace regard::generate
