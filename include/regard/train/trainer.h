// SPDX-License-Identifier: Apache-2.0
// Trains a sequence model on pairs of texts, and can be killed at any moment.
//
//   model folder   config.json, model.safetensors   the best model so far, by validation (the last
//                                                    one, where there is nothing to validate on)
//                  vocabulary.model                  its pieces
//                  training.safetensors              where training stands: weights, optimiser,
//                                                    random numbers, place in the data
//
// Each file is whole at every moment. Training that is started again with the same folder goes on
// from training.safetensors, to the same weights, bit by bit, as if it had never stopped (on the
// same processor with the same number of threads).
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "regard/nn/sequence_model.h"
#include "regard/text/parallel_corpus.h"
#include "regard/text/vocabulary.h"
#include "regard/train/listener.h"
#include "regard/train/options.h"

namespace regard::train {

// Pairs as tensors: sources end with kEnd, targets in begin with kBegin, targets out end with kEnd;
// all are padded to the longest.
nn::Batch to_tensors(const std::vector<text::TokenPair>& pairs);

// Training cannot go on; what() says why and what to do. What was saved before is whole.
class TrainingError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Outcome {
  std::string ended_by;  // "epochs", "steps", "minutes", "no gain" or "stopped"
  std::int64_t steps = 0, tokens = 0, best_step = 0;
  double seconds = 0, best_nll = 0;  // of validation, in nats a token; NaN without any
};

class Trainer {
 public:
  // The model in training mode or not; the folder is made if it is not there.
  Trainer(std::shared_ptr<nn::SequenceModel> model, const text::Vocabulary& vocabulary,
          std::filesystem::path folder, TrainOptions options);
  ~Trainer();

  void add(std::shared_ptr<Listener> listener);

  // Setting *stop from a signal handler ends training after the step, with everything saved.
  void stop_when(const std::atomic<bool>* stop);

  // Trains until a limit of the options. `validation` may be null. TrainingError for a loss or
  // gradient that is not finite, for a folder that another process trains in, whose checkpoint is
  // of another model, other data or other options, or that cannot be written to.
  Outcome train(const text::ParallelCorpus& corpus, const text::ParallelCorpus* validation);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regard::train
