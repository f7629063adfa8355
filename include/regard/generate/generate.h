// SPDX-License-Identifier: Apache-2.0
// Sequences from a model: the likeliest token at each step (greedy), the likeliest sequences that a
// beam finds, or drawn ones. All are batched, and a row's result does not depend on its batch mates
// beyond the rounding of the model's products.
//
// Errors: std::invalid_argument names the option, what it is and what was expected;
// std::runtime_error where a model's logits are NaN.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "regard/generate/stepper.h"

namespace regard::generate {

struct Generated {
  std::vector<std::int64_t> tokens;  // without the first token and without the end token
  bool ended = false;                // by an end token, rather than by its length limit
  double log_probability = 0;        // natural, of the tokens and the end token
  double score = 0;  // log_probability / length^length_penalty, the end token counted (beam search)
};

struct Limits {
  // Tokens that each row may have at most, the end token included: one for every row.
  std::vector<std::int64_t> max_lengths;
  std::int64_t end_token = nn::kEnd;
  // Greedy and sampling: told each token as a row takes it, its end token left out. Returning false
  // ends the row with this token.
  std::function<bool(std::int64_t row, std::int64_t token)> on_token = {};
};

// first_tokens (rows) int64 are what the stepper's first step takes. One result a row.
std::vector<Generated> greedy(Stepper& stepper, const torch::Tensor& first_tokens,
                              const Limits& limits);

struct BeamOptions {
  std::int64_t beams = 4;
  // Finished sequences compare by log_probability / length^length_penalty: 0 prefers short ones, 1
  // compares means. (Wu et al. 2016, arXiv 1609.08144, equation 14, in the form that transformers
  // has.)
  double length_penalty = 1.0;
};

// For each row the finished sequences, best first, at most `beams`. Of 2 * beams continuations of
// each row, those that end and are among the first `beams` are finished, the best others go on. A
// row is done when `beams` are finished and the best open one, at its present length, scores no
// better than the worst of them; where the length ends, open ones are taken as they are.
std::vector<std::vector<Generated>> beam_search(Stepper& stepper, const torch::Tensor& first_tokens,
                                                const Limits& limits,
                                                const BeamOptions& options = {});

struct SamplingOptions {
  double temperature = 1.0;  // above 0; below 1 sharpens
  std::int64_t top_k = 0;    // only the k likeliest tokens; 0 is all
  double top_p = 1.0;        // only the likeliest tokens that together have probability p
  std::uint64_t seed = 1;
  // Names of the rows, which with the seed fix what is drawn, whatever else is in the batch. Their
  // numbers in the batch when empty.
  std::vector<std::uint64_t> rows = {};
};

std::vector<Generated> sample(Stepper& stepper, const torch::Tensor& first_tokens,
                              const Limits& limits, const SamplingOptions& options = {});

}  // namespace regard::generate
