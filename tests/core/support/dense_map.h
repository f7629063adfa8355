// The weights of an attention as a dense matrix, from the formulas of the score and the modifiers, in long double.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regard/map.h"
#include "tests/core/support/case.h"
#include "tests/core/support/problem.h"

namespace regard::testing {

inline MapInputs map_inputs(const Problem& p) { return {p.q.view(), p.k.view(), {}, {}}; }

// How far a weight may be off, relatively: what the rounding of a score as large as the largest does to its exponential.
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

// Looks at all of the case's weights and compares them with the formula's. Empty where all is within map_bar().
std::string check_map(const Case& c);

}  // namespace regard::testing
