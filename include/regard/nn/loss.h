// SPDX-License-Identifier: Apache-2.0
// What training minimises: cross entropy with label smoothing (Szegedy et al. 2016, arXiv
// 1512.00567): the target is (1 - smoothing) * one-hot + smoothing / vocabulary.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "regard/nn/sequence_model.h"

namespace regard::nn {

struct SequenceLoss {
  torch::Tensor loss;       // smoothed, the mean over tokens in nats; has gradients
  double nll = 0;           // the mean negative log-likelihood without smoothing: its exp is the
                            // perplexity
  std::int64_t tokens = 0;  // of target_out that count
};

// The loss of a batch under teacher forcing. Logits exist for `chunk` target positions at a time,
// forward and backward: they would take more memory than the rest of the model (64 sentences of 200
// tokens over 8,000 words: 400 MB, twice). What does not count (Batch::target_lengths, or the
// model's padding token) is left out before they are computed. std::invalid_argument for a wrong
// shape, and where nothing counts.
SequenceLoss sequence_loss(SequenceModel& model, const Batch& batch, double smoothing = 0,
                           std::int64_t chunk = 1024);

// The same of what the model's output layer reads, features (tokens, dim), and their targets
// (tokens) int64, all of which count.
SequenceLoss token_loss(SequenceModel& model, const torch::Tensor& features,
                        const torch::Tensor& target, double smoothing = 0,
                        std::int64_t chunk = 1024);

}  // namespace regard::nn
