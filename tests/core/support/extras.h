// SPDX-License-Identifier: Apache-2.0
// The modifiers of an attention beside its biases and softcap: as the library's values, and as what
// they do to a dense problem.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/attention.h"
#include "tests/core/support/dense_attention.h"
#include "tests/core/support/rule.h"
#include "tests/core/support/tensor.h"

namespace regard::testing {

// Which of them a random problem has.
enum Extra : int {
  kSinks = 1,
  kGaussian = 2,
  kRelative = 4,
  kTemperature = 8,
  kMultiplier = 16,
  kAlibi = 32,
  kDropout = 64,
  kFunction = 128
};
inline constexpr int kExtras = 8, kAllExtras = 255;

struct Extras {
  int which = 0;
  Tensor sinks, centre, table, temperature, multiplier, slopes;
  std::vector<std::int32_t> query_code, key_code, buckets;
  std::int64_t shift = 0;
  double sigma = 0;
  Dropout dropout;

  // Appends them, in an order that is not that of the stages.
  void append(std::vector<Modifier>& modifiers) const;
  // The tensors that can have a gradient, in the order of append().
  std::vector<const Tensor*> tensors() const;

  // Adds what they do to p, whose shape is set, from their formulas.
  void apply(const Rule& rule, DenseProblem& p) const;
  // The gradient of tensors()[n], from the dense gradients in `r`: a sum of them, or of the sizes
  // of their terms.
  std::vector<double> gradient(std::size_t n, const Rule& rule, const DenseProblem& p,
                               const DenseResults& r, bool sizes) const;
};

// Tensors of dtype `dtype` and random broadcast shapes for a problem of this shape.
Extras random_extras(Random& random, int which, DType dtype, std::int64_t batch, std::int64_t heads,
                     std::int64_t len_q, std::int64_t len_k);

}  // namespace regard::testing
