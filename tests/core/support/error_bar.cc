// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/error_bar.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace regard::testing {
namespace {

double worst = 0;

double finite_maximum(const std::vector<double>& values) {
  double most = 0;
  for (const double x : values)
    if (std::isfinite(x)) most = std::max(most, std::abs(x));
  return most;
}

// One tensor against the oracle. NaN and infinity must be where the oracle has them.
struct Comparison {
  const char* name;
  std::vector<double> ours, exact, plain, plain_reversed;
  double factor;
  double eps;    // a quarter of the relative floor
  double terms;  // the largest sum of absolute terms
  double delta = 0;

  std::string describe() const {
    double most = 0, plain_most = 0, squares = 0, exact_squares = 0, plain_squares[2] = {0, 0};
    std::size_t where = 0;
    for (std::size_t n = 0; n < exact.size(); ++n) {
      if (!std::isfinite(exact[n])) {
        if (std::isnan(exact[n]) ? std::isnan(ours[n]) : ours[n] == exact[n]) continue;
        return say(n) + ": expected " + std::to_string(exact[n]) + ", got " +
               std::to_string(ours[n]);
      }
      const double error = std::abs(ours[n] - exact[n]);
      if (!(error < HUGE_VAL))
        return say(n) + ": expected " + std::to_string(exact[n]) + ", got " +
               std::to_string(ours[n]);
      if (error > most) most = error, where = n;
      squares += error * error;
      exact_squares += exact[n] * exact[n];
      for (const int order : {0, 1}) {
        const double plain_error = std::abs((order == 0 ? plain : plain_reversed)[n] - exact[n]);
        if (!(plain_error < HUGE_VAL))
          continue;  // the plain attention may overflow where we do not
        plain_most = std::max(plain_most, plain_error);
        plain_squares[order] += plain_error * plain_error;
      }
    }
    const double count = std::max<double>(1, static_cast<double>(exact.size()));
    const double bar = std::max(factor * plain_most, 4 * eps * terms);
    const double rms = std::sqrt(squares / count);
    const double rms_bar =
        std::max(factor * std::sqrt(std::max(plain_squares[0], plain_squares[1]) / count),
                 4 * eps * (std::sqrt(exact_squares / count) + delta));
    worst = std::max({worst, most == 0 ? 0 : most / bar, rms == 0 ? 0 : rms / rms_bar});
    std::ostringstream text;
    text.precision(9);
    if (most > bar)
      text << say(where) << ": " << ours[where] << " is " << most << " from " << exact[where]
           << "; the bar is " << bar;
    else if (rms > rms_bar)
      text << name << ": root mean square error " << rms << "; the bar is " << rms_bar;
    return text.str();
  }

  std::string say(std::size_t n) const {
    return std::string(name) + "[" + std::to_string(n) + " of " + std::to_string(exact.size()) +
           "]";
  }
};

// A dense (batch, heads, len_q, len_k) gradient added up to a bias's own shape.
std::vector<double> reduced(const std::vector<double>& full, const DenseProblem& p,
                            const Shape& shape) {
  std::vector<double> sums(static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]), 0);
  std::size_t at = 0;
  for_each_index({p.batch, p.heads, p.len_q, p.len_k}, [&](auto b, auto h, auto i, auto j) {
    const auto own = [&](int axis, std::int64_t index) { return shape[axis] == 1 ? 0 : index; };
    sums[((own(0, b) * shape[1] + own(1, h)) * shape[2] + own(2, i)) * shape[3] + own(3, j)] +=
        full[at++];
  });
  return sums;
}

double rms_of(const std::vector<double>& values) {
  double squares = 0;
  for (const double x : values) squares += x * x;
  return std::sqrt(squares / std::max<double>(1, static_cast<double>(values.size())));
}

// The largest scale * sum |v| of a head: additive scores are as exact as that allows.
double steepness(const DenseProblem& p) {
  double most = 0;
  for (std::size_t at = 0; at < p.score_v.size(); at += static_cast<std::size_t>(p.dim)) {
    double sum = 0;
    for (std::int64_t d = 0; d < p.dim; ++d) sum += std::abs(p.score_v[at + d]);
    most = std::max(most, sum * std::abs(p.scale));
  }
  return most;
}

// A gradient (batch, heads, dim) added up to the shape of v.
std::vector<double> over_heads(const std::vector<double>& full, const DenseProblem& p,
                               const Shape& shape) {
  std::vector<double> sums(static_cast<std::size_t>(shape[0] * shape[1] * shape[3]), 0);
  if (full.empty()) return sums;  // without query rows
  std::size_t at = 0;
  for_each_index({p.batch, p.heads, 1, p.dim}, [&](auto b, auto h, auto, auto d) {
    sums[((shape[0] == 1 ? 0 : b) * shape[1] + (shape[1] == 1 ? 0 : h)) * shape[3] + d] +=
        full[at++];
  });
  return sums;
}

}  // namespace

double worst_ratio() { return worst; }

double score_size(const Problem& problem) {
  const DenseProblem p = problem.dense();
  if (!p.score_v.empty()) return steepness(p);
  double most = 0;
  for_each_index({p.batch, p.heads, p.len_q, p.len_k}, [&](auto b, auto h, auto i, auto j) {
    const double* q = &p.q[((b * p.heads + h) * p.len_q + i) * p.dim];
    const double* k = &p.k[((b * (p.heads / p.group) + h / p.group) * p.len_k + j) * p.dim];
    double size = 0;
    for (std::int64_t d = 0; d < p.dim; ++d) size += std::abs(q[d] * k[d]);
    most = std::max(most,
                    size * std::abs(p.scale) /
                        (p.temperature.empty() ? 1 : p.temperature[static_cast<std::size_t>(h)]));
  });
  return most;
}

std::string errors_of(const Problem& problem, const Results& r, double score_size) {
  worst = 0;
  const DenseProblem p = problem.dense();
  const DType dtype = problem.q.dtype();
  const DenseResults exact = attend(p, oracle_of(dtype)), plain = attend(p, arithmetic_of(dtype));
  const DenseResults other = restored(p, attend(reversed(p), arithmetic_of(dtype)));
  // The plain attention's error does not tell how exact a sum of v tanh(...) can be where its terms
  // happen to cancel.
  score_size = std::max(score_size, steepness(p));
  const double e = eps(dtype) + eps(problem.statistics_dtype()) * score_size / 4;
  std::vector<Comparison> comparisons;
  double largest_factor = 1;
  for (const double factor : p.factors) largest_factor = std::max(largest_factor, std::abs(factor));
  comparisons.push_back({"out", r.out.values(), exact.out, plain.out, other.out, 2, e,
                         finite_maximum(p.v) * largest_factor});
  // The statistics are float32 whatever the dtype, so plain's are no measure: their bar is the
  // rounding of a score that adds up `dim` random terms.
  const double wide = eps(problem.statistics_dtype());
  const double product = std::abs(p.scale) * std::sqrt(static_cast<double>(p.dim)) *
                         finite_maximum(p.q) * finite_maximum(p.k);
  const double score = 1 + finite_maximum(exact.lse) + (p.score_v.empty() ? product : steepness(p));
  if (r.lse.given())
    comparisons.push_back(
        {"lse", r.lse.values(), exact.lse, exact.lse, exact.lse, 2, wide, score, score});
  std::vector<double> halves;
  if (r.maximum.given()) halves = r.maximum.values();
  const std::vector<double> log_sum = r.maximum.given() ? r.log_sum.values() : halves;
  for (std::size_t n = 0; n < halves.size(); ++n) {
    if (std::isinf(halves[n]) && halves[n] < 0 && log_sum[n] != 0)
      return "log_sum of a row that sees nothing is " + std::to_string(log_sum[n]);
    halves[n] += log_sum[n];
  }
  if (r.maximum.given())
    comparisons.push_back(
        {"maximum + log_sum", halves, exact.lse, exact.lse, exact.lse, 2, wide, score, score});
  if (r.dq.given())
    comparisons.push_back(
        {"dq", r.dq.values(), exact.dq, plain.dq, other.dq, 3, e, exact.dq_terms, exact.dq_delta});
  if (r.dk.given())
    comparisons.push_back(
        {"dk", r.dk.values(), exact.dk, plain.dk, other.dk, 3, e, exact.dk_terms, exact.dk_delta});
  if (r.dv.given())
    comparisons.push_back(
        {"dv", r.dv.values(), exact.dv, plain.dv, other.dv, 3, e, exact.dv_terms});
  if (r.d_score_v.given()) {
    const Shape& shape = problem.score_v.shape();
    const double own = std::max(e, eps(r.d_score_v.dtype()));
    comparisons.push_back({"d_score_v", r.d_score_v.values(), over_heads(exact.d_score_v, p, shape),
                           over_heads(plain.d_score_v, p, shape),
                           over_heads(other.d_score_v, p, shape), 3, own, exact.d_score_v_terms,
                           exact.d_score_v_delta});
  }
  for (std::size_t n = 0; n < r.d_bias.size(); ++n) {
    if (!r.d_bias[n].given()) continue;
    const Shape& shape = problem.biases[n].values.shape();
    const bool before = problem.biases[n].before_softcap && problem.softcap != 0;
    // A bias's gradient is of the bias's own dtype, whose rounding may be the coarser one.
    const double own = std::max(e, eps(r.d_bias[n].dtype()));
    comparisons.push_back({"d_bias", r.d_bias[n].values(),
                           reduced(before ? exact.d_bias_before : exact.d_bias_after, p, shape),
                           reduced(before ? plain.d_bias_before : plain.d_bias_after, p, shape),
                           reduced(before ? other.d_bias_before : other.d_bias_after, p, shape), 3,
                           own, finite_maximum(reduced(exact.d_bias_terms, p, shape)),
                           rms_of(reduced(exact.d_bias_delta, p, shape))});
  }
  for (std::size_t n = 0; n < r.d_extras.size(); ++n) {
    const auto of = [&](const DenseResults& results, bool sizes) {
      return problem.extras.gradient(n, problem.rule, p, results, sizes);
    };
    const std::vector<double> sizes = of(exact, true);
    const double own = std::max(e, eps(r.d_extras[n].dtype()));
    comparisons.push_back({"d_extras", r.d_extras[n].values(), of(exact, false), of(plain, false),
                           of(other, false), 3, own, finite_maximum(sizes), rms_of(sizes)});
  }
  for (const Comparison& comparison : comparisons) {
    if (std::string text = comparison.describe(); !text.empty()) return text;
  }
  return {};
}

}  // namespace regard::testing
