// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "generate/check.h"
#include "regard/generate/generate.h"

namespace regard::generate {
namespace {

struct Open {
  std::vector<std::int64_t> tokens;
  double log_probability = 0;
};

// One source: its open hypotheses, which have `open.size()` neighbouring rows of the batch, and
// those that are finished, best first.
struct Search {
  std::vector<Open> open{Open{}};
  std::vector<Generated> finished;
  bool done = false;
};

struct Candidate {
  std::int64_t parent = 0, token = 0;
  double log_probability = 0;
};

double score(double log_probability, std::int64_t length, double penalty) {
  return log_probability / std::pow(static_cast<double>(length), penalty);
}

void finish(Search& search, const Open& parent, const Candidate& candidate, const Limits& limits,
            const BeamOptions& options) {
  Generated result;
  result.tokens = parent.tokens;
  result.ended = candidate.token == limits.end_token;
  if (!result.ended) result.tokens.push_back(candidate.token);
  result.log_probability = candidate.log_probability;
  const auto length = static_cast<std::int64_t>(parent.tokens.size()) + 1;
  result.score = score(candidate.log_probability, length, options.length_penalty);
  const auto place =
      std::upper_bound(search.finished.begin(), search.finished.end(), result,
                       [](const Generated& a, const Generated& b) { return a.score > b.score; });
  search.finished.insert(place, std::move(result));
  if (static_cast<std::int64_t>(search.finished.size()) > options.beams) search.finished.pop_back();
}

// Takes the best continuations, at most 2 * beams and the likeliest first: some are finished, the
// others become the open hypotheses. Returns the parents of these.
std::vector<std::int64_t> advance(Search& search, const std::vector<Candidate>& candidates,
                                  std::int64_t max_length, const Limits& limits,
                                  const BeamOptions& options) {
  const auto length = static_cast<std::int64_t>(search.open.front().tokens.size()) + 1;
  const bool last = length == max_length;
  std::vector<Open> next;
  std::vector<std::int64_t> parents;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[i];
    const Open& parent = search.open[static_cast<std::size_t>(candidate.parent)];
    const bool among_first = static_cast<std::int64_t>(i) < options.beams;
    if (last || candidate.token == limits.end_token) {
      if (among_first) finish(search, parent, candidate, limits, options);
    } else if (static_cast<std::int64_t>(next.size()) < options.beams) {
      next.push_back({parent.tokens, candidate.log_probability});
      next.back().tokens.push_back(candidate.token);
      parents.push_back(candidate.parent);
    }
  }
  search.open = std::move(next);
  const bool full = static_cast<std::int64_t>(search.finished.size()) == options.beams;
  search.done = search.open.empty() ||
                (full && score(search.open.front().log_probability, length,
                               options.length_penalty) <= search.finished.back().score);
  return parents;
}

// The likeliest `count` continuations of one search, likeliest first. values, places (open,
// any): the likeliest tokens of each of its rows, as many as `count` where the vocabulary has them.
std::vector<Candidate> best(const torch::Tensor& values, const torch::Tensor& places,
                            const Search& search, std::int64_t count) {
  const auto value = values.accessor<float, 2>();
  const auto place = places.accessor<std::int64_t, 2>();
  std::vector<Candidate> candidates;
  for (std::int64_t row = 0; row < values.size(0); ++row) {
    const auto so_far =
        static_cast<float>(search.open[static_cast<std::size_t>(row)].log_probability);
    for (std::int64_t i = 0; i < values.size(1); ++i) {
      const float sum = so_far + value[row][i];
      if (sum == -std::numeric_limits<float>::infinity()) break;  // what a model rules out
      candidates.push_back({row, place[row][i], sum});
    }
  }
  std::stable_sort(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.log_probability > b.log_probability; });
  if (static_cast<std::int64_t>(candidates.size()) > count)
    candidates.resize(static_cast<std::size_t>(count));
  return candidates;
}

}  // namespace

void check(const BeamOptions& options) {
  if (options.beams < 1 || options.beams > kMostBeams) {
    throw std::invalid_argument("beams: " + std::to_string(options.beams) + "; expected 1 to " +
                                std::to_string(kMostBeams));
  }
  if (!std::isfinite(options.length_penalty)) {
    throw std::invalid_argument("length_penalty: " + std::to_string(options.length_penalty) +
                                "; expected a finite number");
  }
}

std::vector<std::vector<Generated>> beam_search(Stepper& stepper, const torch::Tensor& first_tokens,
                                                const Limits& limits, const BeamOptions& options) {
  const torch::NoGradGuard no_gradients;
  check(first_tokens, limits);
  check(options);
  std::vector<Search> searches(static_cast<std::size_t>(first_tokens.size(0)));
  torch::Tensor tokens = first_tokens;
  while (tokens.size(0) > 0) {
    const torch::Tensor log_p = log_probabilities(stepper.step(tokens));
    const std::int64_t count = 2 * options.beams;
    // Of all rows at once: what is likeliest of a search is likeliest of one of its rows.
    const auto [values, places] = log_p.topk(std::min(count, log_p.size(1)));
    std::vector<std::int64_t> rows, next_tokens;
    std::int64_t row = 0;  // where the search's rows begin in this step's batch
    for (std::size_t s = 0; s < searches.size(); ++s) {
      Search& search = searches[s];
      if (search.done) continue;
      const auto open = static_cast<std::int64_t>(search.open.size());
      const auto candidates =
          best(values.narrow(0, row, open), places.narrow(0, row, open), search, count);
      const auto parents = advance(search, candidates, limits.max_lengths[s], limits, options);
      if (!search.done) {
        for (std::size_t i = 0; i < parents.size(); ++i) {
          rows.push_back(row + parents[i]);
          next_tokens.push_back(search.open[i].tokens.back());
        }
      }
      row += open;
    }
    tokens = torch::tensor(next_tokens, torch::kInt64);
    if (!rows.empty()) stepper.reorder(torch::tensor(rows, torch::kInt64));
  }
  std::vector<std::vector<Generated>> results;
  for (Search& search : searches) results.push_back(std::move(search.finished));
  return results;
}

}  // namespace regard::generate
