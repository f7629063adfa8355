// SPDX-License-Identifier: Apache-2.0
// The weights of an attention as a dense matrix, from the formulas of the score and the modifiers,
// in long double.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "regard/map.h"
#include "tests/core/support/case.h"
#include "tests/core/support/problem.h"

namespace regard::testing {

inline MapInputs map_inputs(const Problem& p) { return {p.q.view(), p.k.view(), {}, {}}; }

// How far a weight may be off, relatively: what the rounding of a score as large as the largest
// does to its exponential.
double map_bar(const Problem& p);

// P, (batch, heads, len_q, len_k).
struct DenseMap {
  Shape shape;
  std::vector<double> values;

  explicit DenseMap(const Problem& problem);
  double at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(((b * shape[1] + h) * shape[2] + i) * shape[3] + j)];
  }
  // The mean over heads [begin, end), as the one head that is left.
  DenseMap mean(std::int64_t begin, std::int64_t end) const;
};

// Empty where each element is within `relative` of what it should be, and of 1e-30 beside it.
template <typename F>
std::string off(const Tensor& actual, double relative, F expected) {
  std::string worst;
  double most = 1;
  for_each_index(actual.shape(), [&](auto b, auto h, auto i, auto j) {
    const double a = actual.at(b, h, i, j), e = expected(b, h, i, j);
    const double error = std::abs(a - e) / (relative * std::abs(e) + 1e-30);
    if (error <= most) return;
    if (!std::isnan(error)) most = error;
    worst = "(" + std::to_string(b) + ", " + std::to_string(h) + ", " + std::to_string(i) + ", " +
            std::to_string(j) + ") is " + std::to_string(a) + ", should be " + std::to_string(e) +
            ": " + std::to_string(error) + " bars off";
  });
  return worst;
}

// Looks at all of the case's weights and compares them with the formula's. Empty where all is
// within map_bar().
std::string check_map(const Case& c);

}  // namespace regard::testing
