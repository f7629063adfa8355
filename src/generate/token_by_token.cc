// SPDX-License-Identifier: Apache-2.0
// Greedy decoding and sampling: each row takes one token a step, and leaves the batch when it ends.
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "generate/check.h"
#include "regard/generate/generate.h"

namespace regard::generate {
namespace {

// Chooses the next token of each row that is still open: log probabilities (open, vocabulary) and
// the open rows' numbers in the batch -> (open) int64.
using Choose =
    std::function<torch::Tensor(const torch::Tensor&, const std::vector<std::int64_t>& rows)>;

std::vector<Generated> run(Stepper& stepper, const torch::Tensor& first_tokens,
                           const Limits& limits, const Choose& choose) {
  const torch::NoGradGuard no_gradients;
  check(first_tokens, limits);
  std::vector<Generated> results(static_cast<std::size_t>(first_tokens.size(0)));
  std::vector<std::int64_t> open(results.size());
  for (std::size_t row = 0; row < open.size(); ++row) open[row] = static_cast<std::int64_t>(row);

  torch::Tensor tokens = first_tokens;
  while (!open.empty()) {
    const torch::Tensor log_p = log_probabilities(stepper.step(tokens));
    tokens = choose(log_p, open);
    const torch::Tensor chosen_log_p = log_p.gather(1, tokens.unsqueeze(1)).squeeze(1);
    const auto token = tokens.accessor<std::int64_t, 1>();
    const auto chosen = chosen_log_p.accessor<float, 1>();
    std::vector<std::int64_t> stay, still_open;
    for (std::size_t i = 0; i < open.size(); ++i) {
      const auto n = static_cast<std::int64_t>(i);
      Generated& result = results[static_cast<std::size_t>(open[i])];
      result.log_probability += chosen[n];
      result.ended = token[n] == limits.end_token;
      if (!result.ended) result.tokens.push_back(token[n]);
      const bool stopped = !result.ended && limits.on_token && !limits.on_token(open[i], token[n]);
      const auto length = static_cast<std::int64_t>(result.tokens.size());
      if (result.ended || length == limits.max_lengths[static_cast<std::size_t>(open[i])] ||
          stopped) {
        continue;
      }
      stay.push_back(n);
      still_open.push_back(open[i]);
    }
    if (still_open.size() < open.size() && !still_open.empty()) {
      const torch::Tensor rows = torch::tensor(stay, torch::kInt64);
      stepper.reorder(rows);
      tokens = tokens.index_select(0, rows);
    }
    open = std::move(still_open);
  }
  for (Generated& result : results) result.score = result.log_probability;
  return results;
}

void check(const SamplingOptions& options, std::int64_t rows) {
  if (!(options.temperature > 0) || !std::isfinite(options.temperature)) {
    throw std::invalid_argument("temperature: " + std::to_string(options.temperature) +
                                "; expected a number above 0");
  }
  if (options.top_k < 0) {
    throw std::invalid_argument("top_k: " + std::to_string(options.top_k) +
                                "; expected 0 (all) or more");
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw std::invalid_argument("top_p: " + std::to_string(options.top_p) +
                                "; expected above 0, at most 1");
  }
  if (!options.rows.empty() && static_cast<std::int64_t>(options.rows.size()) != rows) {
    throw std::invalid_argument("rows: expected one name for each of the " + std::to_string(rows) +
                                " rows, not " + std::to_string(options.rows.size()));
  }
}

// The place of a token in the order of falling probabilities: that of the first whose running sum
// exceeds `uniform` (0 to 1) of what is allowed. A row of probabilities, the likeliest first.
std::int64_t draw(const float* probabilities, std::int64_t count, const SamplingOptions& options,
                  double uniform) {
  std::int64_t allowed = options.top_k > 0 ? std::min(options.top_k, count) : count;
  double total = 0;
  for (std::int64_t i = 0; i < allowed; ++i) total += probabilities[i];
  if (options.top_p < 1) {
    double sum = 0;
    std::int64_t i = 0;
    while (i < allowed && sum < options.top_p * total) sum += probabilities[i++];
    allowed = std::max<std::int64_t>(i, 1);
    total = sum;
  }
  double sum = 0;
  for (std::int64_t i = 0; i < allowed; ++i) {
    sum += probabilities[i];
    if (sum > uniform * total) return i;
  }
  return 0;  // uniform is below 1: only rounding comes here
}

}  // namespace

std::vector<Generated> greedy(Stepper& stepper, const torch::Tensor& first_tokens,
                              const Limits& limits) {
  return run(stepper, first_tokens, limits,
             [](const torch::Tensor& log_p, const auto&) { return log_p.argmax(-1); });
}

std::vector<Generated> sample(Stepper& stepper, const torch::Tensor& first_tokens,
                              const Limits& limits, const SamplingOptions& options) {
  check(options, first_tokens.dim() == 1 ? first_tokens.size(0) : 0);
  std::vector<std::mt19937_64> random;
  for (std::int64_t row = 0; row < first_tokens.numel(); ++row) {
    const std::uint64_t name = options.rows.empty() ? static_cast<std::uint64_t>(row)
                                                    : options.rows[static_cast<std::size_t>(row)];
    std::seed_seq seed{static_cast<std::uint32_t>(options.seed),
                       static_cast<std::uint32_t>(options.seed >> 32),
                       static_cast<std::uint32_t>(name), static_cast<std::uint32_t>(name >> 32)};
    random.emplace_back(seed);
  }
  return run(stepper, first_tokens, limits, [&](const torch::Tensor& log_p, const auto& rows) {
    const torch::Tensor all = torch::softmax(log_p / options.temperature, -1);
    const auto [sorted, order] = options.top_k > 0 ? all.topk(std::min(options.top_k, all.size(1)))
                                                   : all.sort(/*dim=*/-1, /*descending=*/true);
    const torch::Tensor probabilities = sorted.contiguous();
    const std::int64_t vocabulary = probabilities.size(1);
    torch::Tensor places = torch::empty({probabilities.size(0), 1}, torch::kInt64);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto& row_random = random[static_cast<std::size_t>(rows[i])];
      const double uniform = static_cast<double>(row_random() >> 11) * 0x1p-53;
      const auto n = static_cast<std::int64_t>(i);
      places[n][0] =
          draw(probabilities.data_ptr<float>() + n * vocabulary, vocabulary, options, uniform);
    }
    return order.gather(1, places).squeeze(1);
  });
}

}  // namespace regard::generate
