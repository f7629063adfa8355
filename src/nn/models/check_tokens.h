// SPDX-License-Identifier: Apache-2.0
// What every model checks of the tokens that it is handed. std::invalid_argument by the argument's
// name.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace regard::nn {

// tokens (batch, len) int64 below `vocabulary`, at least one of them.
void check_tokens(const char* name, const torch::Tensor& tokens, std::int64_t vocabulary);
// source (batch, len) int64 below `vocabulary`, lengths (batch) int64 from 1 to len.
void check_source(const torch::Tensor& source, const torch::Tensor& lengths,
                  std::int64_t vocabulary);
// target (batch, len), len from 1.
void check_target(const torch::Tensor& target, std::int64_t batch, std::int64_t vocabulary);
// A step's tokens, one a row, and room for it.
void check_step(const torch::Tensor& tokens, std::int64_t rows, std::int64_t position,
                std::int64_t max_length, std::int64_t vocabulary);

}  // namespace regard::nn
