// SPDX-License-Identifier: Apache-2.0
// Those who hear how a training goes: a progress bar, a log, a picture.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace regard::train {

struct Step {
  std::int64_t step = 0;  // from 1
  double epoch = 0;       // with its fraction
  double loss = 0;        // smoothed, the mean over the step's tokens, in nats
  double nll = 0;         // without smoothing
  double learning_rate = 0, gradient_norm = 0;
  std::int64_t tokens = 0;  // of this step's targets (or documents, images)
  double seconds = 0;       // of training until now, earlier runs included
  double fraction = 0;      // of the whole training, by the limit that is nearest
};

struct Validation {
  std::int64_t step = 0;
  double epoch = 0;
  double nll = 0;                                         // in nats
  std::vector<std::pair<std::string, double>> more = {};  // by name: perplexity, accuracy
  bool best = false;
  double seconds = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  // Before the first step of this run: steps that earlier runs have made, 0 for a new training.
  virtual void on_start(std::int64_t /*steps_before*/) {}
  virtual void on_step(const Step& /*step*/) {}
  virtual void on_validation(const Validation& /*validation*/) {}
  virtual void on_checkpoint(std::int64_t /*step*/) {}
  virtual void on_note(const std::string& /*text*/) {}  // something that a person should know
  virtual void on_end() {}
};

}  // namespace regard::train
