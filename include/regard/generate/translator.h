// SPDX-License-Identifier: Apache-2.0
// Lines of text through a model: encoded, batched by length, generated, decoded, in their order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "regard/generate/generate.h"
#include "regard/nn/sequence_model.h"
#include "regard/text/vocabulary.h"

namespace regard::generate {

struct TranslatorOptions {
  BeamOptions beam;                  // beams 1 is greedy
  bool sampling = false;             // draws instead of searching
  SamplingOptions draw;              // its rows are the lines' numbers
  std::int64_t batch_tokens = 4096;  // source positions of a batch, padding and beams included
  // A source longer than this is translated in parts, cut at ends of sentences where there are
  // any, else between words; or, with cut_sources, only its beginning is read.
  std::int64_t max_source = 256;
  bool cut_sources = false;
  // A target may have `length_factor` times its source's tokens and `length_extra` more.
  double length_factor = 2.0;
  std::int64_t length_extra = 30;
};

struct Translation {
  std::string text;
  std::vector<std::int64_t> tokens;
  double log_probability = 0;
  std::int64_t parts = 1;   // that a long source was translated in; 0 for an empty line
  bool cut = false;         // only the source's beginning was read
  bool unfinished = false;  // the length limit came before the end token
};

class Translator {
 public:
  // The model must outlive it; it is put in evaluation mode.
  Translator(nn::SequenceModel& model, text::Vocabulary vocabulary, TranslatorOptions options = {});

  // One result for each line; an empty line stays one. `first_line` is the first one's number.
  std::vector<Translation> translate(const std::vector<std::string>& lines,
                                     std::uint64_t first_line = 0) const;

  const text::Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Part;
  std::vector<std::vector<std::int64_t>> parts_of(const std::string& line, bool& cut) const;
  void generate(std::vector<Part*> batch) const;

  nn::SequenceModel& model_;
  text::Vocabulary vocabulary_;
  TranslatorOptions options_;
};

}  // namespace regard::generate
