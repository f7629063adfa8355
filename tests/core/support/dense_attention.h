// SPDX-License-Identifier: Apache-2.0
// Attention from the formula: scalar loops over dense matrices, in an arithmetic of choice.
//
// In float64 (long double for float64 tests) this is the tests' oracle. In float, or in float with
// each intermediate rounded to bfloat16 or float16, it is what the plain softmax(q @ k.T) @ v of
// that dtype gives, whose error sets the error bars. Nothing of the library is used: what is
// allowed is a dense boolean matrix, a bias is a dense matrix, both made by test code. (What
// dropout drops is asked of the library's scalar dropout_keeps(), whose numbers have tests of their
// own.)
#pragma once

#include <cstdint>
#include <vector>

#include "regard/tensor_view.h"

namespace regard::testing {

// All arrays are contiguous: q (batch, heads, len_q, dim), k (batch, heads / group, len_k, dim), v
// (batch, heads / group, len_k, dim_v), d_out (batch, heads, len_q, dim_v), d_lse (batch, heads,
// len_q), matrices (batch, heads, len_q, len_k).
struct DenseProblem {
  std::int64_t batch = 1, heads = 1, group = 1, len_q = 0, len_k = 0, dim = 1, dim_v = 1;
  double scale = 1;
  double softcap = 0;  // 0: none
  std::vector<double> q, k, v;
  std::vector<double> score_v;  // (batch, heads, dim): scores are scale * score_v . tanh(q + k);
                                // empty: scale * q . k
  std::vector<std::uint8_t> allowed;            // empty: all pairs
  std::vector<double> bias_before, bias_after;  // before and after the softcap; empty: none
  double bend = 0;  // s <- bend * s / (bend + |s|) + bias_last behind all that; 0: none
  std::vector<double> bias_last;
  std::vector<double> temperature;  // (heads), divides the scaled scores; empty: none
  std::vector<double> sinks;        // (heads, sinks_of_head)
  std::int64_t sinks_of_head = 0;
  std::vector<double> factors;       // multiply weights after the softmax; empty: none
  std::vector<double> d_out, d_lse;  // empty d_out: no backward pass; empty d_lse: zeros
};

struct DenseResults {
  std::vector<double> out, maximum, lse;
  std::vector<double> dq, dk, dv;
  std::vector<double> d_temperature, d_sinks, d_factors;  // of the shapes above
  std::vector<double> d_temperature_terms, d_sink_terms, d_factor_terms;
  std::vector<double> d_bias_before,
      d_bias_after;  // dense: the sums for broadcast biases are the caller's
  std::vector<double> d_score_v;

  // For error floors: the largest sum of the absolute values of the terms that make up an element
  // of each gradient, and the terms of each element of the bias gradients.
  double dq_terms = 0, dk_terms = 0, dv_terms = 0;
  std::vector<double> d_bias_terms;
  double d_score_v_terms = 0, d_score_v_delta = 0;
  // What a saved output that is off by its relative eps does to gradients, through delta =
  // rowsum(d_out * out), per eps.
  double dq_delta = 0, dk_delta = 0;
  std::vector<double> d_bias_delta;
};

// The same attention, summed the other way round: dims and keys in reverse, the scale on the
// queries. Exactly, it gives the same; in a dtype's arithmetic it rounds differently.
DenseProblem reversed(const DenseProblem& problem);
// Results of reversed(problem), in the order of `problem`. Sizes of terms are not kept.
DenseResults restored(const DenseProblem& problem, const DenseResults& results);

enum class Arithmetic { kLongDouble, kDouble, kFloat, kBf16, kF16 };

DenseResults attend(const DenseProblem& problem, Arithmetic arithmetic);

// The plain attention of a dtype, and an oracle that is more exact.
Arithmetic arithmetic_of(DType dtype);
Arithmetic oracle_of(DType dtype);

}  // namespace regard::testing
