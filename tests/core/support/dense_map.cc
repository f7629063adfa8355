#include "tests/core/support/dense_map.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/core/support/error_bar.h"

namespace regard::testing {

Options MapProblem::options() const {
  Options options = base.options();
  if (dropout) options.modifiers.push_back(*dropout);
  if (multiplier.given()) options.modifiers.push_back(Multiplier{multiplier.view()});
  if (centre.given()) options.modifiers.push_back(Gaussian{centre.view(), sigma});
  if (sinks.given()) options.modifiers.push_back(Sinks{sinks.view()});
  if (alibi.given()) options.modifiers.push_back(Alibi{alibi.view()});
  if (temperature.given()) options.modifiers.push_back(Temperature{temperature.view()});
  return options;
}

double MapProblem::bar() const {
  const double e = eps(dtype());
  return e * (32 + 4 * score_size(base));
}

std::vector<double> MapProblem::weights() const {
  const DenseProblem p = base.dense();
  std::vector<double> weights(static_cast<std::size_t>(p.batch * p.heads * p.len_q * p.len_k), 0.0);
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
        const long double y = p.k[((b * (p.heads / p.group) + h / p.group) * p.len_k + key) * p.dim + d];
        score += p.score_v.empty() ? x * y : static_cast<long double>(p.score_v[h * p.dim + d]) * std::tanh(x + y);
      }
      score *= p.scale;
      if (temperature.given()) score /= temperature.broadcast_at(0, h, 0, 0);
      if (!p.bias_before.empty()) score += p.bias_before[row * n + j];
      if (p.softcap != 0) score = p.softcap * std::tanh(score / p.softcap);
      if (!p.bias_after.empty()) score += p.bias_after[row * n + j];
      if (alibi.given()) score -= alibi.broadcast_at(b, h, 0, 0) * std::abs(static_cast<double>(i + p.len_k - p.len_q - key));
      s[j] = score;
      most = std::max(most, score);
    }
    long double sum = 0;
    const std::int64_t extra = sinks.given() ? sinks.shape()[3] : 0;
    for (std::int64_t m = 0; m < extra; ++m) most = std::max<long double>(most, sinks.at(0, h, 0, m));
    for (std::int64_t m = 0; m < extra; ++m) sum += std::exp(sinks.at(0, h, 0, m) - most);
    for (const long double x : s) sum += std::isinf(x) ? 0 : std::exp(x - most);
    for (std::size_t j = 0; j < n; ++j) {
      if (std::isinf(s[j])) continue;
      const auto key = static_cast<std::int64_t>(j);
      long double weight = std::exp(s[j] - most) / sum;
      if (dropout) weight *= dropout_keeps(*dropout, b, h, i, key) ? 1 / (1 - dropout->p) : 0;
      if (multiplier.given()) weight *= multiplier.broadcast_at(b, h, i, key);
      if (centre.given()) weight *= std::exp(-std::pow(key - centre.broadcast_at(b, h, i, 0), 2) / (2 * sigma * sigma));
      weights[row * n + j] = static_cast<double>(weight);
    }
  });
  return weights;
}

DenseMap DenseMap::mean(std::int64_t begin, std::int64_t end) const {
  DenseMap mean = *this;
  mean.shape[1] = 1;
  mean.values.assign(static_cast<std::size_t>(shape[0] * shape[2] * shape[3]), 0);
  for_each_index(shape, [&](auto b, auto h, auto i, auto j) {
    if (h >= begin && h < end)
      mean.values[static_cast<std::size_t>((b * shape[2] + i) * shape[3] + j)] += at(b, h, i, j) / static_cast<double>(end - begin);
  });
  return mean;
}

}  // namespace regard::testing
