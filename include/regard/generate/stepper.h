// SPDX-License-Identifier: Apache-2.0
// What generation asks of a model: one more token for each row, and rows that change places.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "regard/nn/sequence_model.h"

namespace regard::generate {

// A batch of hypotheses, one a row, which a model continues token by token.
class Stepper {
 public:
  virtual ~Stepper() = default;

  // The last token of each row, (rows) int64 -> logits of the next one, (rows, vocabulary).
  virtual torch::Tensor step(const torch::Tensor& tokens) = 0;

  // Row i becomes what row rows[i] was, int64 of any number: rows may be repeated or left out.
  virtual void reorder(const torch::Tensor& rows) = 0;
};

// A SequenceModel that has read its sources. The model must outlive it.
class ModelStepper : public Stepper {
 public:
  // source (batch, source_len) int64, padded at the end; source_lengths (batch); at most
  // `max_length` steps will be taken.
  ModelStepper(nn::SequenceModel& model, const torch::Tensor& source,
               const torch::Tensor& source_lengths, std::int64_t max_length);

  torch::Tensor step(const torch::Tensor& tokens) override;
  void reorder(const torch::Tensor& rows) override;

  // What the first step takes, (batch).
  const torch::Tensor& first_tokens() const { return first_tokens_; }

 private:
  nn::SequenceModel& model_;
  std::unique_ptr<nn::DecodingState> state_;
  torch::Tensor first_tokens_;
};

}  // namespace regard::generate
