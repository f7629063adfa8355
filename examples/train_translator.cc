// SPDX-License-Identifier: Apache-2.0
// Defines a sequence-to-sequence model with Bahdanau's attention, trains it on two text files whose
// lines belong together, and translates with it:
//
//   train_translator SOURCE TARGET FOLDER STEPS < lines-to-translate
//
// Started again with the same FOLDER it goes on where it stopped. Links regard::train and
// regard::generate (find_package(regard COMPONENTS nn)).
#include <regard/generate/translator.h>
#include <regard/nn/checkpoint.h>
#include <regard/nn/sequence_model.h>
#include <regard/text/parallel_corpus.h>
#include <regard/text/vocabulary.h>
#include <regard/train/progress.h>
#include <regard/train/sequence_task.h>
#include <regard/train/trainer.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>

namespace text = regard::text;

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "usage: train_translator SOURCE TARGET FOLDER STEPS\n");
    return 2;
  }
  const std::filesystem::path source = argv[1], target = argv[2], folder = argv[3];
  const text::ParallelCorpus corpus(source, target);

  // One vocabulary of subwords for both languages, learned once.
  const bool again = std::filesystem::exists(folder / "vocabulary.model");
  const text::Vocabulary vocabulary = again ? text::Vocabulary::load(folder / "vocabulary.model")
                                            : text::Vocabulary::train({source, target});

  torch::manual_seed(1);
  const auto model = regard::nn::make_model({{"kind", "seq2seq"},
                                             {"attention", "bahdanau"},
                                             {"source_vocab", vocabulary.size()},
                                             {"target_vocab", vocabulary.size()},
                                             {"embedding", 128},
                                             {"hidden", 256}});
  regard::train::TrainOptions options;
  options.max_epochs = 0;
  options.max_steps = std::atoll(argv[4]);
  options.warmup_steps = 20;
  regard::train::SequenceTask task(model, vocabulary, corpus, /*validation=*/nullptr,
                                   /*batches=*/{}, /*label_smoothing=*/0.1);
  regard::train::Trainer trainer(task, folder, options);
  trainer.add(std::make_shared<regard::train::ProgressLine>(stderr, task.unit()));
  trainer.train();

  const regard::generate::Translator translator(*model, vocabulary);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << translator.translate({line}).front().text << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "train_translator: %s\n", error.what());
  return 1;
}
