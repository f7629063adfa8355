// SPDX-License-Identifier: Apache-2.0
// A random attention in one line of text, so that whatever fails can be run again:
//   REGARD_CASE='seed=5 dtype=1 lq=40 ...' build/release/tests/core/core_tests
//   --gtest_filter=Property.OneCase
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "tests/core/support/problem.h"

namespace regard::testing {

struct CaseBias {
  int axes = 0;  // bit a: axis a is broadcast
  int dtype = 0, lie = 0, before = 0, wanted = 1;
};

struct Case {
  std::int64_t seed = 0;
  int dtype = 0;
  std::int64_t batch = 1, heads_kv = 1, group = 1, len_q = 1, len_k = 1, dim = 1, dim_v = 1;
  int q_lie = 0, k_lie = 0, v_lie = 0, d_out_lie = 0, out_lie = 0, gradient_lie = 0;
  std::string mask;  // as parse_rule()
  std::vector<CaseBias> biases;
  double softcap = 0, scale = 0;  // 0: none, the default
  int lse = 1, d_lse = 0, dq = 1, dk = 1, dv = 1;
  int wide_out = 0, wide_gradients = 0;
  int workers = 1;
  int extras = 0;  // a sum of Extra
  int score = 0,
      d_score_v = 1;  // 0: dot products; 1: additive, one v for all; 2: a v per head; 3: per batch
                      // entry and head. Whether v's gradient is wanted
  int shape = 0;      // of the scores: 0 random, 1 rising along the keys, 2 falling, 3 in steps
};

std::ostream& operator<<(std::ostream& stream, const Case& c);
Case parse_case(const std::string& text);

// The same case with heads, batch or lengths made smaller until its cost (pairs times dims) is
// within a bound.
Case bounded(Case c, double most);

Problem make_problem(const Case& c);

// Runs the case and compares it with the oracle. Empty where all is within the error bars.
std::string check(const Case& c);

}  // namespace regard::testing
