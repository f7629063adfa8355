// SPDX-License-Identifier: Apache-2.0
// One attention to compute: tensors, options, and the same in dense form for the oracle.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "regard/attention.h"
#include "tests/core/support/dense_attention.h"
#include "tests/core/support/extras.h"
#include "tests/core/support/rule.h"
#include "tests/core/support/tensor.h"

namespace regard::testing {

struct BiasTensor {
  Tensor values;
  bool before_softcap = false;
};

struct Problem {
  Tensor q, k, v;
  Tensor score_v;        // given: additive scores
  Tensor prepared_keys;  // given: what prepare_keys() made of k
  Tensor d_out, d_lse;   // not given: no backward pass; no gradient through lse
  std::vector<BiasTensor> biases;
  std::optional<double> scale;
  double softcap = 0;
  Extras extras;
  Rule rule;

  std::int64_t batch() const { return q.shape()[0]; }
  std::int64_t heads() const { return q.shape()[1]; }
  std::int64_t group() const { return q.shape()[1] / k.shape()[1]; }
  std::int64_t len_q() const { return q.shape()[2]; }
  std::int64_t len_k() const { return k.shape()[2]; }
  std::int64_t dim() const { return q.shape()[3]; }
  std::int64_t dim_v() const { return v.shape()[3]; }
  DType statistics_dtype() const { return q.dtype() == kF64 ? kF64 : kF32; }

  Options options() const;
  DenseProblem dense() const;

  // The same attention for some of its query rows, one batch entry, one query head (without its
  // group), some of its keys. The rule is the caller's to mend.
  Problem rows(std::int64_t begin, std::int64_t size) const;
  Problem batch_entry(std::int64_t b) const;
  Problem head(std::int64_t h) const;
  Problem keys(std::int64_t begin, std::int64_t size) const;
};

struct Sizes {
  std::int64_t batch = 1, heads_kv = 1, group = 1, len_q = 1, len_k = 1, dim = 1, dim_v = 1;
};

// Normal values; d_out included. Scores have a deviation of about 1.
Problem random_problem(Random& random, DType dtype, const Sizes& sizes);

// What to ask of the library, and how what it writes shall lie.
struct Request {
  bool lse = true;
  bool statistics = true;  // maximum and log_sum; without them few queries take the decode pass
  bool dq = true, dk = true, dv = true;
  std::vector<bool> d_bias;  // shorter than the biases: the rest is asked for
  bool d_score_v = true;     // where there is one
  bool wide_out = false;     // float32 out of bfloat16 or float16 inputs
  bool wide_gradients = false;
  Lie out_lie = Lie::kBhsd, gradient_lie = Lie::kBhsd;
};

struct Results {
  Tensor out, maximum, log_sum, lse;
  Tensor dq, dk, dv, d_score_v;  // not given: not asked for
  std::vector<Tensor> d_bias, d_extras;
  std::string
      error;  // a Status that was not ok, or a write outside the elements of what was asked for

  // What belongs to indices [begin, begin + size) of the batch (0), heads (1) or query rows (2)
  // alone: sums over that axis (dk and dv of heads and rows, gradients of biases that are broadcast
  // along it) are left out.
  Results slice(int axis, std::int64_t begin, std::int64_t size) const;
};

// Runs forward(), and backward() where the problem has d_out.
Results attempt(const Problem& problem, const Executor& executor, const Request& request);
// The same; an error is a test failure.
Results run(const Problem& problem, const Executor& executor = serial_executor(),
            const Request& request = {});

// Both results have the same bits in everything that both were asked for.
::testing::AssertionResult same_bits(const Results& a, const Results& b);
// Only out and the row statistics.
::testing::AssertionResult same_forward_bits(const Results& a, const Results& b);

}  // namespace regard::testing
