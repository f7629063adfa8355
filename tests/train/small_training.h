// SPDX-License-Identifier: Apache-2.0
// A corpus and a model so small that training takes milliseconds a step.
#pragma once

#include <memory>
#include <string>

#include "regard/nn/sequence_model.h"
#include "regard/text/parallel_corpus.h"
#include "regard/text/vocabulary.h"
#include "regard/train/sequence_task.h"
#include "regard/train/trainer.h"
#include "tests/support/temporary_folder.h"

namespace regard::test {

// Lines of three to nine words of eight; the target has the words in capitals.
struct SmallTraining {
  explicit SmallTraining(int lines = 600) {
    std::string source, target;
    const char* small[] = {"red", "green", "blue", "one", "two", "three", "four", "five"};
    const char* capital[] = {"RED", "GREEN", "BLUE", "ONE", "TWO", "THREE", "FOUR", "FIVE"};
    unsigned number = 1;
    for (int line = 0; line < lines; ++line) {
      for (int word = 0; word < 3 + line % 7; ++word) {
        number = number * 1103515245u + 12345u;
        const unsigned which = (number >> 16) % 8;
        source += std::string(word > 0 ? " " : "") + small[which];
        target += std::string(word > 0 ? " " : "") + capital[which];
      }
      source += "\n";
      target += "\n";
    }
    folder.write("source", source);
    folder.write("target", target);
    text::VocabularyOptions options;
    options.size = 100;
    options.byte_fallback = false;
    vocabulary = std::make_unique<text::Vocabulary>(
        text::Vocabulary::train({folder / "source", folder / "target"}, options));
    corpus = std::make_unique<text::ParallelCorpus>(folder / "source", folder / "target");
  }

  std::shared_ptr<nn::SequenceModel> model(const std::string& attention = "bahdanau",
                                           double dropout = 0.1) const {
    torch::manual_seed(3);
    return nn::make_model({{"kind", "seq2seq"},
                           {"source_vocab", vocabulary->size()},
                           {"target_vocab", vocabulary->size()},
                           {"attention", attention},
                           {"embedding", 24},
                           {"hidden", 32},
                           {"attention_dim", 32},
                           {"maxout", 16},
                           {"dropout", dropout}});
  }

  static train::TrainOptions options(std::int64_t steps) {
    train::TrainOptions o;
    o.max_steps = steps;
    o.max_epochs = 0;
    o.warmup_steps = 10;
    o.learning_rate = 5e-3;
    o.validate_every = 20;
    o.checkpoint_every = 10;
    return o;
  }

  static text::BatchOptions batches() {
    text::BatchOptions o;
    o.tokens = 400;
    o.max_length = 40;
    return o;
  }

  TemporaryFolder folder;
  std::unique_ptr<text::Vocabulary> vocabulary;
  std::unique_ptr<text::ParallelCorpus> corpus;
};

}  // namespace regard::test
