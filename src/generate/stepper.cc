// SPDX-License-Identifier: Apache-2.0
#include "regard/generate/stepper.h"

namespace regard::generate {

ModelStepper::ModelStepper(nn::SequenceModel& model, const torch::Tensor& source,
                           const torch::Tensor& source_lengths, std::int64_t max_length)
    : model_(model),
      state_(model.start(source, source_lengths, max_length)),
      first_tokens_(model.first_tokens(source, source_lengths)) {}

torch::Tensor ModelStepper::step(const torch::Tensor& tokens) {
  return model_.step(*state_, tokens);
}

void ModelStepper::reorder(const torch::Tensor& rows) { state_->reorder(rows); }

}  // namespace regard::generate
