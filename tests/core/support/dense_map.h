// The weights of an attention as a dense matrix, from the formulas of the score and the modifiers, in long double; nothing of the library
// is used but dropout_keeps(), which says what dropout drops.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "regard/map.h"
#include "tests/core/support/problem.h"

namespace regard::testing {

// A problem (score, scale, mask, biases, softcap) and the modifiers that it knows nothing of.
struct MapProblem {
  Problem base;
  Tensor temperature, alibi, sinks, multiplier, centre;
  double sigma = 20;
  std::optional<Dropout> dropout;

  Options options() const;
  MapInputs inputs() const { return {base.q.view(), base.k.view(), {}, {}}; }
  DType dtype() const { return base.statistics_dtype(); }
  // P, (batch, heads, len_q, len_k).
  std::vector<double> weights() const;
  // How far a weight may be off, relatively: what the rounding of a score as large as the largest does to its exponential.
  double bar() const;
};

struct DenseMap {
  Shape shape;
  std::vector<double> values;

  explicit DenseMap(const MapProblem& p) : shape{p.base.batch(), p.base.heads(), p.base.len_q(), p.base.len_k()}, values(p.weights()) {}
  double at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(((b * shape[1] + h) * shape[2] + i) * shape[3] + j)];
  }
  // The mean over heads [begin, end), as the one head that is left.
  DenseMap mean(std::int64_t begin, std::int64_t end) const;
};

}  // namespace regard::testing
