// SPDX-License-Identifier: Apache-2.0
// Trains the model of a task, and can be killed at any moment.
//
//   model folder   config.json, model.safetensors   the best model so far, by validation (the last
//                                                    one, where there is nothing to validate on),
//                                                    and what else the task keeps beside it
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
#include <stdexcept>
#include <string>

#include "regard/train/listener.h"
#include "regard/train/options.h"
#include "regard/train/task.h"

namespace regard::train {

// Training cannot go on; what() says why and what to do. What was saved before is whole.
class TrainingError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Outcome {
  std::string ended_by;  // "epochs", "steps", "minutes", "no gain" or "stopped"
  std::int64_t steps = 0, tokens = 0, best_step = 0;  // tokens: what losses are means over
  double seconds = 0, processor_seconds = 0;          // by the clock; of all threads together
  double best_cost = 0;  // of validation: Metrics::cost; NaN without any
};

class Trainer {
 public:
  // The folder is made if it is not there. The task must outlive the trainer.
  Trainer(Task& task, std::filesystem::path folder, TrainOptions options);
  ~Trainer();

  void add(std::shared_ptr<Listener> listener);

  // Setting *stop from a signal handler ends training after the step, with everything saved.
  void stop_when(const std::atomic<bool>* stop);

  // Trains until a limit of the options. TrainingError for a loss or gradient that is not finite,
  // for a folder that another process trains in, whose checkpoint is of another model, other data
  // or other options, or that cannot be written to.
  Outcome train();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regard::train
