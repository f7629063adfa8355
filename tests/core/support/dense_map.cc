// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/dense_map.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "regard/executor.h"
#include "tests/core/support/error_bar.h"

namespace regard::testing {

double map_bar(const Problem& p) { return eps(p.statistics_dtype()) * (32 + 8 * score_size(p)); }

DenseMap::DenseMap(const Problem& problem)
    : shape{problem.batch(), problem.heads(), problem.len_q(), problem.len_k()} {
  const DenseProblem p = problem.dense();
  values.assign(static_cast<std::size_t>(p.batch * p.heads * p.len_q * p.len_k), 0.0);
  const auto n = static_cast<std::size_t>(p.len_k);
  for_each_index({p.batch, p.heads, p.len_q, 1}, [&](auto b, auto h, auto i, auto) {
    const auto row = static_cast<std::size_t>((b * p.heads + h) * p.len_q + i);
    std::vector<long double> s(n, -std::numeric_limits<long double>::infinity());
    long double most = -std::numeric_limits<long double>::infinity();
    for (std::size_t j = 0; j < n; ++j) {
      if (!p.allowed.empty() && p.allowed[row * n + j] == 0) continue;
      const auto key = static_cast<std::int64_t>(j);
      long double score = 0;
      for (std::int64_t d = 0; d < p.dim; ++d) {
        const long double x = p.q[row * static_cast<std::size_t>(p.dim) + d];
        const long double y =
            p.k[((b * (p.heads / p.group) + h / p.group) * p.len_k + key) * p.dim + d];
        score += p.score_v.empty()
                     ? x * y
                     : static_cast<long double>(p.score_v[(b * p.heads + h) * p.dim + d]) *
                           std::tanh(x + y);
      }
      score *= p.scale;
      if (!p.temperature.empty()) score /= p.temperature[static_cast<std::size_t>(h)];
      if (!p.bias_before.empty()) score += p.bias_before[row * n + j];
      if (p.softcap != 0) score = p.softcap * std::tanh(score / p.softcap);
      if (!p.bias_after.empty()) score += p.bias_after[row * n + j];
      if (p.bend != 0)
        score = score * p.bend / (p.bend + std::abs(score)) + p.bias_last[row * n + j];
      s[j] = score;
      most = std::max(most, score);
    }
    long double sum = 0;
    const double* sinks = p.sinks.data() + h * p.sinks_of_head;
    for (std::int64_t m = 0; m < p.sinks_of_head; ++m) most = std::max<long double>(most, sinks[m]);
    for (std::int64_t m = 0; m < p.sinks_of_head; ++m) sum += std::exp(sinks[m] - most);
    for (const long double x : s) sum += std::isinf(x) ? 0 : std::exp(x - most);
    for (std::size_t j = 0; j < n; ++j) {
      if (std::isinf(s[j])) continue;
      long double weight = std::exp(s[j] - most) / sum;
      if (!p.factors.empty()) weight *= p.factors[row * n + j];
      values[row * n + j] = static_cast<double>(weight);
    }
  });
}

DenseMap DenseMap::mean(std::int64_t begin, std::int64_t end) const {
  DenseMap mean = *this;
  mean.shape[1] = 1;
  mean.values.assign(static_cast<std::size_t>(shape[0] * shape[2] * shape[3]), 0);
  for_each_index(shape, [&](auto b, auto h, auto i, auto j) {
    if (h >= begin && h < end)
      mean.values[static_cast<std::size_t>((b * shape[2] + i) * shape[3] + j)] +=
          at(b, h, i, j) / static_cast<double>(end - begin);
  });
  return mean;
}

std::string check_map(const Case& c) {
  const Problem problem = make_problem(c);
  const DenseMap dense(problem);
  Tensor weights(problem.statistics_dtype(), dense.shape, static_cast<Lie>(c.out_lie));
  const ThreadExecutor executor(c.workers);
  const Status status = attention_weights(map_inputs(problem), problem.options(), {},
                                          weights.mutable_view(), executor);
  if (!status.ok()) return status.message();
  if (!weights.gaps_untouched()) return "wrote between the weights";
  return off(weights, map_bar(problem), [&](auto... at) { return dense.at(at...); });
}

}  // namespace regard::testing
