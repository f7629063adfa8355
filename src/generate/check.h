// SPDX-License-Identifier: Apache-2.0
// What every way of generating checks.
#pragma once

#include <torch/torch.h>

#include <stdexcept>
#include <string>

#include "regard/generate/generate.h"

namespace regard::generate {

inline void check(const torch::Tensor& first_tokens, const Limits& limits) {
  if (first_tokens.dim() != 1 || first_tokens.scalar_type() != torch::kInt64) {
    throw std::invalid_argument("first_tokens: expected (rows) of int64");
  }
  if (static_cast<std::int64_t>(limits.max_lengths.size()) != first_tokens.size(0)) {
    throw std::invalid_argument("max_lengths: expected one for each of the " +
                                std::to_string(first_tokens.size(0)) + " rows, not " +
                                std::to_string(limits.max_lengths.size()));
  }
  for (const std::int64_t length : limits.max_lengths) {
    if (length < 1) {
      throw std::invalid_argument("max_lengths: " + std::to_string(length) +
                                  "; expected at least 1");
    }
  }
}

inline constexpr std::int64_t kMostBeams = 65'536;

// Of beam_search(); std::invalid_argument.
void check(const BeamOptions& options);

// Natural logarithms of the probabilities of the next token, (rows, vocabulary), in float32.
inline torch::Tensor log_probabilities(const torch::Tensor& logits) {
  torch::Tensor result = torch::log_softmax(logits.to(torch::kFloat32), -1);
  // A NaN anywhere in a row makes the whole row NaN.
  if (torch::isnan(result.select(1, 0)).any().item<bool>()) {
    throw std::runtime_error("the model's logits are NaN: its weights are broken");
  }
  return result;
}

}  // namespace regard::generate
