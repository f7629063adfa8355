// SPDX-License-Identifier: Apache-2.0
// Rows whose weight lies on one key: their scores have no gradient, and none comes of rounding
// either. delta = rowsum(dO * O) is summed as dP = dO V^T is, so that the two cancel to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

struct Setting {
  Sizes sizes;
  Rule rule;
  double softcap = 0;
  bool additive = false;
};

class OneKey : public ::testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }

  // The largest weight of each row that sees a key, in float64.
  static double largest_weight(const Problem& p, std::int64_t b, std::int64_t h, std::int64_t i) {
    std::vector<double> scores;
    const PlanShape shape{p.batch(), p.heads(), p.len_q(), p.len_k()};
    for (std::int64_t j = 0; j < p.len_k(); ++j) {
      if (!allowed(p.rule, shape, b, h, i, j)) continue;
      double score = 0;
      for (std::int64_t d = 0; d < p.dim(); ++d)
        score += p.q.at(b, h, i, d) * p.k.at(b, h / p.group(), j, d);
      score *= p.scale.value_or(1 / std::sqrt(static_cast<double>(p.dim())));
      scores.push_back(p.softcap > 0 ? p.softcap * std::tanh(score / p.softcap) : score);
    }
    if (scores.empty()) return 0;
    const double most = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (const double score : scores) sum += std::exp(score - most);
    return 1 / sum;
  }
};

TEST_P(OneKey, HasNoGradientNoise) {
  Random random(1);
  const Setting settings[] = {
      {{1, 2, 1, 64, 64, 64, 64}, {}},
      {{2, 1, 3, 70, 300, 64, 64}, {}},
      {{1, 2, 2, 150, 900, 24, 40}, see_causal()},
      {{1, 1, 1, 100, 700, 130, 200}, see_window(150, 40)},
      {{1, 1, 1, 33, 65, 300, 270}, {}},
      {{1, 2, 1, 3, 500, 64, 63}, {}},
      {{1, 2, 1, 64, 200, 64, 64}, {}, 20000.0},
  };
  for (const Setting& setting : settings) {
    Problem p = random_problem(random, dtype(), setting.sizes);
    for (Tensor* t : {&p.q, &p.k, &p.v}) t->fill_normal(random, 40);
    p.rule = setting.rule;
    p.softcap = setting.softcap;
    const Results r = run(p);
    int rows = 0;
    for_each_index({p.batch(), p.heads(), p.len_q(), 1}, [&](auto b, auto h, auto i, auto) {
      if (largest_weight(p, b, h, i) < 1 - 1e-12) return;
      ++rows;
      for (std::int64_t d = 0; d < p.dim(); ++d)
        ASSERT_LE(std::abs(r.dq.at(b, h, i, d)), 1e-5) << "row " << i << " of " << p.len_q();
    });
    EXPECT_GT(rows, p.batch() * p.heads() * p.len_q() * 3 / 4);
  }
}

// Every row takes one key, which another row may take too: no key's gradient is noise.
TEST_P(OneKey, NorHaveItsKeys) {
  Random random(2);
  for (const std::int64_t len_k : {20, 64, 600}) {
    for (const bool rising : {false, true}) {
      Problem p = random_problem(random, dtype(), {1, 2, 2, 90, len_k, 32, 48});
      p.scale = 1;
      p.v.fill_normal(random, 40);
      p.q.fill(0), p.k.fill(0);
      // Scores are -64 times the square of the distance between where the query points and the key,
      // or rise. Large numbers are cut in two, so that they are exact in any dtype.
      const auto set_cut = [&](auto b, auto h, auto j, double factor, std::int64_t count) {
        p.k.set(b, h, j, 0, factor * static_cast<double>(count / 128 * 128));
        p.k.set(b, h, j, 2, factor * static_cast<double>(count % 128));
      };
      for_each_index({1, 4, 90, 1}, [&](auto, auto h, auto i, auto) {
        p.q.set(0, h, i, 0, 16), p.q.set(0, h, i, 2, 16);
        p.q.set(0, h, i, 1, rising ? 0 : static_cast<double>(i * 7 % len_k % 128));
      });
      for_each_index({1, 2, len_k, 1}, [&](auto b, auto h, auto j, auto) {
        const std::int64_t at = j % 128;
        if (rising) {
          j % 2 == 1 ? set_cut(b, h, j, -128, 1) : set_cut(b, h, j, 8, j / 2);
        } else if (j < 128) {
          set_cut(b, h, j, -4, at * at);
          p.k.set(b, h, j, 1, static_cast<double>(128 * at));
        } else {
          set_cut(b, h, j, -256, 127);
        }
      });
      const Results r = run(p);
      for_each_index(r.dk.shape(), [&](auto b, auto h, auto j, auto d) {
        ASSERT_LE(std::abs(r.dk.at(b, h, j, d)), 1e-5) << "key " << j << " of " << len_k;
      });
      for_each_index(r.dq.shape(), [&](auto b, auto h, auto i, auto d) {
        ASSERT_LE(std::abs(r.dq.at(b, h, i, d)), 1e-5) << "row " << i << ", " << len_k << " keys";
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, OneKey, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
