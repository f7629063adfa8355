// SPDX-License-Identifier: Apache-2.0
// Inputs that break careless kernels: rising maxima, huge scores, -inf and lowest biases, NaN and
// infinity where they are attended to (they come out) and where they are not (they never leak).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

class Hostile : public ::testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }

  // The result, whose NaN must not come from what is hidden: compared with the same problem where
  // hidden values are calm.
  static void expect_no_leak(const Problem& calm, const Problem& hostile, const std::string& what) {
    EXPECT_TRUE(same_bits(run(calm), run(hostile))) << what;
  }
  // Every query of the one head scores key j scores(j), times the scale.
  template <class Scores>
  static void set_scores(Problem& p, const Scores& scores) {
    p.q.fill(0);
    p.k.fill(0);
    for (std::int64_t i = 0; i < p.len_q(); ++i) p.q.set(0, 0, i, 0, 1);
    for (std::int64_t j = 0; j < p.len_k(); ++j) p.k.set(0, 0, j, 0, scores(j));
  }
};

// Scores of +-1e4 that are exact in every dtype (powers of two times small integers), so that the
// oracle is met to the last digits whatever a score's own rounding would do.
TEST_P(Hostile, HugeScores) {
  Random random(1);
  for (const std::int64_t len_k : {3, 40, 700}) {
    Problem p = random_problem(random, dtype(), {1, 1, 1, 26, len_k, 4, 8});
    p.scale = 1;
    for_each_index({1, 1, 26, 4}, [&](auto, auto, auto i, auto d) {
      p.q.set(0, 0, i, d, d == 0 ? 64 : d == 1 ? (i % 3) - 1 : 0);
    });
    for_each_index({1, 1, len_k, 4}, [&](auto, auto, auto j, auto d) {
      p.k.set(0, 0, j, d,
              d == 0   ? (j % 2 ? 160 : -160)
              : d == 1 ? static_cast<double>(j % 8) / 4
                       : 0);
    });
    EXPECT_EQ(errors_of(p, run(p)), "") << len_k << " keys";
    p.rule = see_causal();
    EXPECT_EQ(errors_of(p, run(p)), "") << len_k << " keys, causal";
  }
}

TEST_P(Hostile, MaximaThatRiseAndFall) {
  Random random(2);
  for (const double step : {0.5, 20.0, -20.0, 2000.0, -2000.0}) {
    Problem p = random_problem(random, dtype(), {1, 1, 1, 14, 300, 2, 8});
    p.scale = 1;
    for_each_index({1, 1, 14, 2},
                   [&](auto, auto, auto i, auto d) { p.q.set(0, 0, i, d, d == 0 ? 1 : i % 4); });
    for_each_index({1, 1, 300, 2}, [&](auto, auto, auto j, auto d) {
      p.k.set(0, 0, j, d,
              d == 0 ? step * static_cast<double>(j / 32) : static_cast<double>(j % 5) / 4);
    });
    EXPECT_EQ(errors_of(p, run(p)), "") << "step " << step;
  }
}

// One key far above the others, anywhere: it takes everything, and a later panel must not bring the
// others back.
TEST_P(Hostile, OneKeyTakesAll) {
  Random random(3);
  for (const std::int64_t winner : {0, 31, 32, 63, 100, 511, 512, 599}) {
    Problem p = random_problem(random, dtype(), {1, 1, 1, 13, 600, 8, 8});
    p.d_out = Tensor();
    p.q.fill(1);
    p.k.fill(0);
    for (std::int64_t d = 0; d < 8; ++d) p.k.set(0, 0, winner, d, 200);
    const Results r = run(p);
    for_each_index({1, 1, 13, 8}, [&](auto, auto, auto i, auto d) {
      EXPECT_EQ(r.out.at(0, 0, i, d), p.v.at(0, 0, winner, d)) << winner;
    });
  }
}

// Scores that are all alike, however large: the maximum takes all of them, and the sum is their
// number.
TEST_P(Hostile, EqualScoresOfAnySize) {
  Random random(10);
  for (const double score : {16384.0, 1048576.0, 134217728.0, 8589934592.0}) {
    if (dtype() == DType::kFloat16) continue;  // it has no such numbers
    for (const double sign : {1.0, -1.0}) {
      Problem p = random_problem(random, dtype(), {1, 1, 1, 20, 70, 4, 8});
      p.d_out = Tensor();
      p.scale = 0.3;
      set_scores(p, [&](std::int64_t /*j*/) { return sign * score; });
      const Results r = run(p);
      for (std::int64_t i = 0; i < 20; ++i)
        EXPECT_NEAR(r.log_sum.at(0, 0, i, 0), std::log(70.0), 1e-4) << score * sign;
    }
  }
}

// Scores that jump behind the first keys, which gave a row its maximum.
TEST_P(Hostile, JumpsOfAnySize) {
  Random random(11);
  for (const double jump : {100.0, 1e4, 5e7, 1e8, 1e9, 1e12}) {
    if (dtype() == DType::kFloat16) continue;
    Problem p = random_problem(random, dtype(), {1, 1, 1, 20, 90, 4, 8});
    p.d_out = Tensor();
    p.scale = 1;
    set_scores(p, [&](std::int64_t j) { return j == 77 ? jump : 0; });
    const Results r = run(p);
    for_each_index({1, 1, 20, 8}, [&](auto, auto, auto i, auto d) {
      EXPECT_EQ(r.out.at(0, 0, i, d), p.v.at(0, 0, 77, d)) << jump;
    });
  }
}

// A key of -infinity takes nothing, whatever lies behind the last query.
TEST_P(Hostile, KeysOfMinusInfinityTakeNothing) {
  Random random(12);
  for (const std::int64_t len_q : {29, 30, 31, 32}) {
    Problem p = random_problem(random, dtype(), {1, 1, 1, len_q, 40, 4, 8});
    p.q.fill(1);
    for (std::int64_t d = 0; d < 4; ++d)
      p.k.set(0, 0, 3, d, -std::numeric_limits<double>::infinity());
    for (const bool staged : {false, true}) {
      if (staged) p.biases.push_back({Tensor(dtype(), {1, 1, 1, 1}), false});
      if (staged) p.biases[0].values.fill(0);
      const Results r = run(p);
      for (std::int64_t d = 0; d < 8; ++d)
        EXPECT_LT(std::fabs(r.dv.at(0, 0, 3, d)), 1e-20) << len_q << " queries, staged " << staged;
    }
  }
}

// A row of -inf bias is hidden. A row of lowest numbers is not: it averages the values, as PyTorch
// does.
TEST_P(Hostile, LowestBiasesAverageAndInfiniteOnesHide) {
  Random random(4);
  for (const std::int64_t len_k : {5, 64, 130}) {
    for (const double scale : {0.0, 0.125}) {
      Problem p = random_problem(random, dtype(), {1, 1, 1, 16, len_k, 8, 8});
      p.scale = scale;
      p.biases.push_back({Tensor(dtype(), {1, 1, 16, len_k}), false});
      Tensor& bias = p.biases[0].values;
      bias.fill_normal(random);
      const double lowest = -largest(dtype());
      for (std::int64_t j = 0; j < len_k; ++j) {
        bias.set(0, 0, 2, j, -HUGE_VAL);
        bias.set(0, 0, 5, j, lowest);
        bias.set(0, 0, 7, j, j % 2 ? -HUGE_VAL : lowest);
        bias.set(0, 0, 9, j, j % 3 ? lowest : 0);
        bias.set(0, 0, 11, j, j < len_k - 1 ? -HUGE_VAL : 0.5);
        bias.set(0, 0, 12, j, j < 33 ? lowest : -HUGE_VAL);
      }
      const Results r = run(p);
      EXPECT_EQ(scale == 0 ? errors_of(p, r) : "", "") << len_k << " keys";
      for (std::int64_t d = 0; d < 8; ++d) {
        double sum = 0;
        for (std::int64_t j = 0; j < len_k; ++j) sum += p.v.at(0, 0, j, d);
        EXPECT_EQ(r.out.at(0, 0, 2, d), 0);
        EXPECT_EQ(r.dq.at(0, 0, 2, d), 0);
        // In float32 a score vanishes beside the lowest number; in float16's range it does not.
        if (dtype() == kF16) continue;
        EXPECT_NEAR(r.out.at(0, 0, 5, d), sum / static_cast<double>(len_k), 8 * eps(dtype()))
            << len_k << " keys";
      }
      EXPECT_EQ(r.lse.at(0, 0, 2, 0), -HUGE_VAL);
      EXPECT_EQ(r.maximum.at(0, 0, 2, 0), -HUGE_VAL);
      EXPECT_EQ(r.log_sum.at(0, 0, 2, 0), 0);
      EXPECT_NEAR(dtype() == kF16 ? 0 : r.log_sum.at(0, 0, 5, 0),
                  dtype() == kF16 ? 0 : std::log(static_cast<double>(len_k)), 1e-6);
    }
  }
}

// What Hugging Face makes of padding and causality: 0 and finfo.min, with whole rows of the latter.
TEST_P(Hostile, PaddedCausalBiasOfLowestNumbers) {
  Random random(5);
  Problem p = random_problem(random, dtype(), {2, 1, 2, 40, 40, 16, 16});
  p.biases.push_back({Tensor(dtype(), {2, 1, 40, 40}), false});
  for_each_index({2, 1, 40, 40}, [&](auto b, auto, auto i, auto j) {
    const bool padding = b == 1 && j < 9;  // left padding: the first rows see nothing else
    p.biases[0].values.set(b, 0, i, j, j > i || padding ? -largest(dtype()) : 0);
  });
  EXPECT_EQ(errors_of(p, run(p)), "");
}

// NaN and infinity in keys and values that a mask hides, also where they share a panel of 32 keys
// with visible ones.
TEST_P(Hostile, HiddenKeysNeverLeak) {
  Random random(6);
  const std::int64_t len_q = 30, len_k = 140;
  const auto hidden = [](std::int64_t j) { return j % 5 == 3 || (j >= 40 && j < 90); };
  Tensor allowed(DType::kBool, {1, 1, 1, len_k});
  for (std::int64_t j = 0; j < len_k; ++j) allowed.set(0, 0, 0, j, !hidden(j));
  for (const double poison :
       {std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL, largest(dtype())}) {
    for (int stages = 0; stages < 3; ++stages) {
      Problem calm = random_problem(random, dtype(), {1, 2, 2, len_q, len_k, 16, 24});
      calm.rule = see_tensor(allowed);
      if (stages > 0) calm.softcap = 5;
      if (stages > 1) {
        calm.biases.push_back({Tensor(kF32, {1, 4, len_q, len_k}), false});
        calm.biases[0].values.fill_normal(random);
      }
      Problem hostile = calm;
      for (std::int64_t j = 0; j < len_k; ++j) {
        if (!hidden(j)) continue;
        for (std::int64_t h = 0; h < 2; ++h) {
          for (std::int64_t d = 0; d < 16; ++d) hostile.k.set(0, h, j, d, poison);
          for (std::int64_t d = 0; d < 24; ++d) hostile.v.set(0, h, j, d, poison);
        }
        if (stages > 1)
          for_each_index({1, 4, len_q, 1}, [&](auto, auto h, auto i, auto) {
            hostile.biases[0].values.set(0, h, i, j, poison);
          });
      }
      expect_no_leak(calm, hostile,
                     "poison " + std::to_string(poison) + ", stages " + std::to_string(stages));
    }
  }
}

TEST_P(Hostile, KeysPastTheLengthsAreNotRead) {
  Random random(7);
  for (const std::int64_t length : {1, 31, 33, 64, 100}) {
    Problem calm = random_problem(random, dtype(), {2, 1, 2, 25, 110, 16, 16});
    calm.rule = see_lengths({length, 110}) & see_causal();
    Problem hostile = calm;
    for (std::int64_t j = length; j < 110; ++j)
      for (std::int64_t d = 0; d < 16; ++d)
        hostile.k.set(0, 0, j, d, NAN), hostile.v.set(0, 0, j, d, NAN);
    expect_no_leak(calm, hostile, "length " + std::to_string(length));
  }
}

// The future of a causal row is hidden, but a later row sees it: NaN reaches exactly the rows that
// attend to it.
TEST_P(Hostile, NanComesOutWhereItIsAttendedTo) {
  Random random(8);
  for (const bool in_key : {true, false}) {
    for (const bool capped : {false, true}) {
      Problem calm = random_problem(random, dtype(), {1, 1, 1, 70, 70, 16, 16});
      calm.rule = see_causal();
      calm.softcap = capped ? 4 : 0;
      Problem hostile = calm;
      (in_key ? hostile.k : hostile.v).set(0, 0, 37, 3, NAN);
      const Results clean = run(calm), got = run(hostile);
      EXPECT_TRUE(same_forward_bits(clean.slice(2, 0, 37), got.slice(2, 0, 37)));
      EXPECT_TRUE(same_bits(clean.dq.slice(2, 0, 37), got.dq.slice(2, 0, 37)));
      for (std::int64_t i = 37; i < 70; ++i) {
        for (std::int64_t d = 0; d < 16; ++d) {
          EXPECT_EQ(std::isnan(got.out.at(0, 0, i, d)), in_key || d == 3) << i << ", " << d;
        }
        EXPECT_EQ(std::isnan(got.lse.at(0, 0, i, 0)), in_key) << i;
        EXPECT_TRUE(std::isnan(got.dq.at(0, 0, i, 0))) << i;
      }
    }
  }
}

// A NaN in one query is that row's alone, and that of the gradients it takes part in.
TEST_P(Hostile, NanInAQueryStaysInItsRow) {
  Random random(9);
  Problem calm = random_problem(random, dtype(), {1, 1, 1, 30, 100, 16, 16});
  calm.rule = see_window(50, 10);
  for (const double poison : {std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL}) {
    Problem hostile = calm;
    hostile.q.set(0, 0, 12, 5, poison);
    const Results clean = run(calm), got = run(hostile);
    for (const std::int64_t i : {0, 11, 13, 29}) {
      EXPECT_TRUE(same_forward_bits(clean.slice(2, i, 1), got.slice(2, i, 1))) << i;
      EXPECT_TRUE(same_bits(clean.dq.slice(2, i, 1), got.dq.slice(2, i, 1))) << i;
    }
    for (std::int64_t d = 0; d < 16; ++d)
      EXPECT_TRUE(std::isnan(got.out.at(0, 0, 12, d))) << poison;
  }
}

// Nor does it come to keys that its row does not see: they share tiles, and sums, with those that
// it sees.
TEST_P(Hostile, NanInAQueryStaysWithItsKeys) {
  Random random(16);
  Tensor gaps(DType::kBool, {1, 1, 100, 90});
  for_each_index(gaps.shape(), [&](auto, auto, auto i, auto j) {
    gaps.set(0, 0, i, j, (i + j) % 3 == 0 || j % 12 == i % 7);
  });
  for (const Rule& rule : {see_window(20, 3), see_causal(), see_tensor(gaps)}) {
    for (const bool staged : {false, true}) {
      Problem calm = random_problem(random, dtype(), {1, 1, 1, 100, 90, 16, 24});
      calm.rule = rule;
      if (staged) calm.softcap = 3;
      const Results clean = run(calm);
      for (const std::int64_t poisoned : {0, 31, 47, 99}) {
        Problem hostile = calm;
        hostile.q.set(0, 0, poisoned, 5, NAN);
        hostile.d_out.set(0, 0, poisoned, 7, NAN);
        const Results got = run(hostile);
        for (std::int64_t j = 0; j < 90; ++j) {
          const bool seen = rule.allows({0, 0, poisoned, j, poisoned, j, -10, 90});
          EXPECT_EQ(std::isnan(got.dk.at(0, 0, j, 5)), seen)
              << "query " << poisoned << ", key " << j;
          if (seen) continue;
          EXPECT_TRUE(same_bits(clean.dk.slice(2, j, 1), got.dk.slice(2, j, 1)))
              << "query " << poisoned << ", key " << j;
          EXPECT_TRUE(same_bits(clean.dv.slice(2, j, 1), got.dv.slice(2, j, 1)))
              << "query " << poisoned << ", key " << j;
        }
      }
    }
  }
}

TEST_P(Hostile, AllScoresNan) {
  Problem p;
  p.q = Tensor(dtype(), {1, 1, 3, 8}), p.k = Tensor(dtype(), {1, 1, 50, 8}),
  p.v = Tensor(dtype(), {1, 1, 50, 8});
  p.q.fill(NAN), p.k.fill(1), p.v.fill(1);
  const Results r = run(p);
  for_each_index({1, 1, 3, 8}, [&](auto, auto, auto i, auto d) {
    EXPECT_TRUE(std::isnan(r.out.at(0, 0, i, d)));
  });
  EXPECT_TRUE(std::isnan(r.lse.at(0, 0, 0, 0)));
}

// Infinity in a value comes out in its column, and nowhere else.
TEST_P(Hostile, InfiniteValues) {
  Random random(10);
  Problem p = random_problem(random, dtype(), {1, 1, 1, 20, 60, 16, 16});
  p.d_out = Tensor();
  const Results calm = run(p);
  p.v.set(0, 0, 40, 2, HUGE_VAL);
  const Results got = run(p);
  for_each_index({1, 1, 20, 16}, [&](auto, auto, auto i, auto d) {
    EXPECT_EQ(got.out.at(0, 0, i, d), d == 2 ? HUGE_VAL : calm.out.at(0, 0, i, d));
  });
}

// Values near the largest number: a mean of them is still a number.
TEST_P(Hostile, HugeValuesDoNotOverflowTheirMean) {
  Problem p;
  p.q = Tensor(dtype(), {1, 1, 2, 8}), p.k = Tensor(dtype(), {1, 1, 3, 8}),
  p.v = Tensor(dtype(), {1, 1, 3, 8});
  p.q.fill(0), p.k.fill(0);
  for_each_index({1, 1, 3, 8}, [&](auto, auto, auto j, auto d) {
    p.v.set(0, 0, j, d, largest(dtype()) / 4 * (j == 1 ? -1 : 1));
  });
  EXPECT_EQ(errors_of(p, run(p)), "");
}

INSTANTIATE_TEST_SUITE_P(DTypes, Hostile, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
