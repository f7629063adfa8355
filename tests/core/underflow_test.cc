// SPDX-License-Identifier: Apache-2.0
// Low scores: weights follow the exponential down to where float's own ends, and are 0 below it;
// nothing becomes a denormal number on the way; NaN and infinity still come out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "regard/map.h"
#include "tests/core/support/dense_map.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

// What says that a key has a low score.
enum class How { kKeys, kBias, kSoftcapAndBias };

class Underflow : public ::testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }
  static bool is_double() { return dtype() == kF64; }
  // Natural units below the maximum: all weights are positive up to the first, 0 from the second.
  static double last_positive() { return is_double() ? 707 : 86.9; }
  static double first_zero() { return is_double() ? 709 : 87.7; }
  // The relative error of a weight far down: the exponential's own, and the rounding of weights to
  // bfloat16 where pairs of them are multiplied.
  static double far_error() { return dtype() == kBf16 ? 0x1p-7 : is_double() ? 1e-12 : 4e-6; }

  // 13 queries that all score key `top` 0 and key `low` so much less; what else there is is hidden.
  static Problem two_keys(std::int64_t top, std::int64_t low, double below, How how) {
    Random random(3);
    const std::int64_t len_k = 600;
    Problem p = random_problem(random, dtype(), {1, 1, 1, 13, len_k, 8, 8});
    Tensor allowed(DType::kBool, {1, 1, 1, len_k});
    for (std::int64_t j = 0; j < len_k; ++j) allowed.set(0, 0, 0, j, j == top || j == low);
    p.rule = see_tensor(allowed);
    p.scale = 1;
    p.q.fill(0), p.k.fill(0);
    if (how == How::kKeys) {
      // Two halves, of which each is exact in any dtype where `below` has few bits.
      for (std::int64_t i = 0; i < 13; ++i) p.q.set(0, 0, i, 0, 1), p.q.set(0, 0, i, 1, 1);
      p.k.set(0, 0, low, 0, -std::floor(below));
      p.k.set(0, 0, low, 1, std::floor(below) - below);
    } else {
      p.softcap = how == How::kSoftcapAndBias ? 7 : 0;
      p.biases.push_back({Tensor(is_double() ? kF64 : kF32, {1, 1, 1, len_k}), false});
      p.biases[0].values.fill(0);
      p.biases[0].values.set(0, 0, 0, low, -below);
    }
    return p;
  }
};

TEST_P(Underflow, WeightsFollowTheExponential) {
  const double huge = dtype() == kF16 ? 1.0 : 0x1p100;  // what a weight of 2^-100 makes 1
  for (const How how : {How::kKeys, How::kBias, How::kSoftcapAndBias}) {
    for (const auto& [top, low] : {std::pair<int, int>{0, 1}, {3, 590}, {590, 3}, {40, 20}}) {
      const double step = is_double() ? 27.0 : 3.75;
      for (double below = 0; below < 1.2 * first_zero(); below += step) {
        Problem p = two_keys(top, low, below, how);
        p.v.fill(0);
        for (std::int64_t d = 0; d < 8; ++d) p.v.set(0, 0, low, d, huge);
        const Results r = run(p);
        const double weight = std::exp(-below) / (1 + std::exp(-below)), expected = weight * huge;
        const double got = r.out.at(0, 0, 0, 0);
        if (below > first_zero()) {
          EXPECT_EQ(got, 0) << below;
        } else if (below < last_positive() && dtype() != kF16) {
          EXPECT_NEAR(got, expected, far_error() * expected) << below << " below, key " << low;
        }
        // Gradients: of the value, P; of queries and keys, what a difference of 1 makes.
        const double dv = r.dv.at(0, 0, low, 0);
        double sum = 0;
        for (std::int64_t i = 0; i < 13; ++i) sum += p.d_out.at(0, 0, i, 0) * weight;
        if (below > first_zero()) {
          EXPECT_EQ(dv, 0) << below;
          EXPECT_EQ(r.dk.at(0, 0, low, 0), 0) << below;
        } else if (below < last_positive() && dtype() != kF16) {
          double terms = 0;
          for (std::int64_t i = 0; i < 13; ++i) terms += std::abs(p.d_out.at(0, 0, i, 0)) * weight;
          EXPECT_NEAR(dv, sum, 2 * far_error() * terms) << below;
        }
      }
    }
  }
}

TEST_P(Underflow, MapsDoToo) {
  for (const How how : {How::kKeys, How::kBias}) {
    for (double below = 0; below < 1.2 * first_zero(); below += is_double() ? 27.0 : 3.75) {
      const Problem p = two_keys(40, 590, below, how);
      Tensor weights(p.statistics_dtype(), {1, 1, 13, 600});
      const Status status =
          attention_weights(map_inputs(p), p.options(), {}, weights.mutable_view());
      ASSERT_TRUE(status.ok()) << status.message();
      const double got = weights.at(0, 0, 5, 590);
      const double expected = std::exp(-below) / (1 + std::exp(-below));
      if (below > first_zero()) {
        EXPECT_EQ(got, 0) << below;
      } else if (below < last_positive()) {
        EXPECT_NEAR(got, expected, (is_double() ? 1e-12 : 4e-6) * expected) << below;
      }
    }
  }
}

// A finite low bias hides a key, whatever finite values lie there: from -1e4 to the lowest number,
// in any place, also where the first keys that a row meets are the low ones.
TEST_P(Underflow, FiniteLowBiasesHide) {
  Random random(5);
  const double lowest = -largest(dtype());
  for (const double low : {-1e4, -3e4, lowest}) {
    for (const std::int64_t len_k : {8, 70, 1100}) {
      for (const std::int64_t visible : {std::int64_t{0}, len_k / 2, len_k - 1}) {
        for (const double huge : {dtype() == kF16 ? 6e4 : 1e30, largest(dtype())}) {
          Problem p = random_problem(random, dtype(), {1, 2, 1, 20, len_k, 16, 16});
          p.biases.push_back({Tensor(dtype(), {1, 1, 1, len_k}), false});
          p.biases[0].values.fill(low);
          p.biases[0].values.set(0, 0, 0, visible, 0);
          for_each_index(p.v.shape(), [&](auto b, auto h, auto j, auto d) {
            if (j != visible) p.v.set(b, h, j, d, d % 2 ? huge : -huge);
          });
          const bool overflows = huge > 1e30;  // in dO V^T
          if (overflows) p.d_out = Tensor();
          const Results r = run(p);
          for_each_index(r.out.shape(), [&](auto b, auto h, auto i, auto d) {
            ASSERT_EQ(r.out.at(b, h, i, d), p.v.at(b, h, visible, d)) << low << ", " << len_k;
            if (overflows) return;
            ASSERT_EQ(r.dq.at(b, h, i, d), 0) << low << ", " << len_k;
          });
          for_each_index(p.v.shape(), [&](auto b, auto h, auto j, auto d) {
            if (overflows || j == visible) return;
            ASSERT_EQ(r.dv.at(b, h, j, d), 0) << low << ", " << len_k;
            ASSERT_EQ(r.dk.at(b, h, j, d), 0) << low << ", " << len_k;
          });
        }
      }
    }
  }
}

TEST_P(Underflow, NoWeightIsDenormal) {
  if (dtype() == kF16) return;  // its own numbers end sooner
  Random random(9);
  const double least = is_double() ? std::numeric_limits<double>::min()
                                   : static_cast<double>(std::numeric_limits<float>::min());
  for (const bool staged : {false, true}) {
    for (const double step : {0.31, 0.5, 0.77}) {
      // Sums above 1: P is smaller than what the exponential gives.
      Problem p = random_problem(random, dtype(), {1, 1, 1, 30, 400, 4, 8});
      p.scale = 1;
      p.d_out.fill(0);
      for (std::int64_t d = 0; d < 8; ++d) p.d_out.set(0, 0, 7, d, 1);
      p.q.fill(0), p.k.fill(0);
      for (std::int64_t i = 0; i < 30; ++i) p.q.set(0, 0, i, 0, 1);
      for (std::int64_t j = 0; j < 400; ++j)
        p.k.set(0, 0, j, 0, j < 100 ? 0 : -(is_double() ? 8 : 1) * step * (j - 100));
      if (staged) p.softcap = 1e6;
      const Results r = run(p);
      int positive = 0, zero = 0;
      for (std::int64_t j = 0; j < 400; ++j) {
        const double dv = r.dv.at(0, 0, j, 0);
        EXPECT_TRUE(dv == 0 || dv >= least) << dv << " at " << j;
        (dv == 0 ? zero : positive) += 1;
      }
      EXPECT_GT(positive, 150);
      EXPECT_GT(zero, 5);
    }
  }
}

// What is not finite is met, though its weight is 0: as 0 times it is NaN. What is hidden is not.
TEST_P(Underflow, WhatIsNotFiniteComesOut) {
  if (dtype() == kF16) return;
  const double infinity = std::numeric_limits<double>::infinity();
  for (const How how : {How::kKeys, How::kBias}) {
    for (const bool masked : {false, true}) {
      for (const double poison : {double{NAN}, infinity, -infinity}) {
        Problem p = two_keys(3, 70, 1000, how);
        if (!masked) p.rule = see_all();
        p.d_out = Tensor();
        p.v.set(0, 0, 70, 2, poison);
        const Results r = run(p);
        for (std::int64_t d = 0; d < 8; ++d)
          EXPECT_EQ(std::isnan(r.out.at(0, 0, 5, d)), d == 2) << "masked " << masked;
        if (!masked) continue;
        p.v.set(0, 0, 70, 2, 1), p.v.set(0, 0, 71, 2, poison);
        EXPECT_EQ(run(p).out.at(0, 0, 5, 2), p.v.at(0, 0, 3, 2));
      }
      Problem p = two_keys(3, 70, 1000, how);
      if (!masked) p.rule = see_all();
      p.d_out = Tensor();
      p.k.set(0, 0, 70, 1, NAN);
      for (std::int64_t d = 0; d < 8; ++d) EXPECT_TRUE(std::isnan(run(p).out.at(0, 0, 5, d)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, Underflow, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
