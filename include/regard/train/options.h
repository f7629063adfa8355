// SPDX-License-Identifier: Apache-2.0
// How a model is trained: every option with its default.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace regard::train {

struct TrainOptions {
  // "adam" (Kingma and Ba 2014, arXiv 1412.6980) or "adamw" (Loshchilov and Hutter 2017, arXiv
  // 1711.05101), libtorch's.
  std::string optimizer = "adam";
  double learning_rate = 1e-3;  // the highest, where the warm-up ends
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8, weight_decay = 0;

  // After a linear warm-up: "inverse-sqrt" (falls as 1 / sqrt(step), Vaswani et al. 2017), "cosine"
  // (to final_rate * learning_rate at max_steps, which it needs) or "constant".
  std::string schedule = "inverse-sqrt";
  std::int64_t warmup_steps = 500;
  double final_rate = 0.01;

  double clip_norm = 1.0;       // of all gradients together; 0 does not clip
  std::int64_t accumulate = 1;  // batches that make one step
  bool bf16 = false;  // products in bfloat16 (autocast); needs AVX512-BF16 or AMX to be of use

  // Training ends at whichever comes first; 0 is no limit, but one must be given.
  double max_epochs = 10, max_minutes = 0;
  std::int64_t max_steps = 0;

  std::int64_t validate_every = 0;  // steps; 0 is once an epoch
  std::int64_t patience = 0;  // validations without a gain after which training ends; 0 is never
  std::int64_t checkpoint_every = 500;  // steps; also after every validation

  std::uint64_t seed = 1;  // of dropout; a task's data have one of their own
};

// std::invalid_argument names the option, what it is and what was expected.
void check(const TrainOptions& options);

// The learning rate of a step, counted from 1.
double learning_rate(const TrainOptions& options, std::int64_t step);

// Everything that the weights after a number of steps depend on, so that training goes on only with
// what it began with. Limits and how often something is saved are not among it.
nlohmann::json what_fixes_the_weights(const TrainOptions& options);

}  // namespace regard::train
