// SPDX-License-Identifier: Apache-2.0
#include "nn/models/check_tokens.h"

#include <sstream>
#include <stdexcept>

namespace regard::nn {
namespace {

void check_numbers(const char* name, const torch::Tensor& tokens, std::int64_t rank) {
  if (tokens.defined() && tokens.dim() == rank && tokens.scalar_type() == torch::kInt64) return;
  std::ostringstream text;
  text << name << ": ";
  if (tokens.defined())
    text << tokens.sizes() << " " << tokens.scalar_type();
  else
    text << "not given";
  text << "; expected int64 of " << rank << " dimension" << (rank == 1 ? "" : "s");
  throw std::invalid_argument(text.str());
}

void check_range(const char* name, const torch::Tensor& numbers, std::int64_t least,
                 std::int64_t most) {
  if (numbers.numel() == 0) return;
  const auto [low, high] = torch::aminmax(numbers);
  if (low.item<std::int64_t>() >= least && high.item<std::int64_t>() <= most) return;
  throw std::invalid_argument(std::string(name) + ": from " +
                              std::to_string(low.item<std::int64_t>()) + " to " +
                              std::to_string(high.item<std::int64_t>()) + "; expected " +
                              std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace

void check_tokens(const char* name, const torch::Tensor& tokens, std::int64_t vocabulary) {
  check_numbers(name, tokens, 2);
  if (tokens.numel() == 0)
    throw std::invalid_argument(std::string(name) +
                                ": nothing in it; expected at least one row and token");
  check_range(name, tokens, 0, vocabulary - 1);
}

void check_source(const torch::Tensor& source, const torch::Tensor& lengths,
                  std::int64_t vocabulary) {
  check_tokens("source", source, vocabulary);
  check_numbers("source_lengths", lengths, 1);
  if (lengths.size(0) != source.size(0))
    throw std::invalid_argument("source_lengths: " + std::to_string(lengths.size(0)) + " of " +
                                std::to_string(source.size(0)) + " rows");
  check_range("source_lengths", lengths, 1, source.size(1));
}

void check_target(const torch::Tensor& target, std::int64_t batch, std::int64_t vocabulary) {
  check_numbers("target_in", target, 2);
  if (target.size(0) != batch || target.size(1) == 0)
    throw std::invalid_argument("target_in: " + std::to_string(target.size(0)) + " rows of " +
                                std::to_string(target.size(1)) + " tokens; expected " +
                                std::to_string(batch) + " of at least 1");
  check_range("target_in", target, 0, vocabulary - 1);
}

void check_step(const torch::Tensor& tokens, std::int64_t rows, std::int64_t position,
                std::int64_t max_length, std::int64_t vocabulary) {
  check_numbers("tokens", tokens, 1);
  if (tokens.size(0) != rows)
    throw std::invalid_argument("tokens: " + std::to_string(tokens.size(0)) + "; the state has " +
                                std::to_string(rows) + " rows");
  if (position >= max_length)
    throw std::invalid_argument("max_length: the state has room for " + std::to_string(max_length) +
                                " steps, and all are taken");
  check_range("tokens", tokens, 0, vocabulary - 1);
}

}  // namespace regard::nn
