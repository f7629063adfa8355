// SPDX-License-Identifier: Apache-2.0
// The tests' oracle itself: against closed forms of tiny cases, and its gradients against numerical
// differentiation of its forward.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

TEST(Oracle, OneKeyGivesItsValue) {
  DenseProblem p;
  p.len_q = p.len_k = 1, p.dim = 2, p.dim_v = 2, p.scale = 0.5;
  p.q = {1, 2}, p.k = {3, 4}, p.v = {5, -6};
  const DenseResults r = attend(p, Arithmetic::kDouble);
  EXPECT_EQ(r.out, (std::vector<double>{5, -6}));
  EXPECT_DOUBLE_EQ(r.lse[0], 5.5);
}

TEST(Oracle, TwoKeysAreASigmoid) {
  DenseProblem p;
  p.len_q = 1, p.len_k = 2, p.dim = 1, p.dim_v = 1, p.scale = 2;
  p.q = {0.75}, p.k = {1, -1}, p.v = {1, 0}, p.d_out = {1}, p.d_lse = {0};
  const double weight = 1 / (1 + std::exp(-3.0));
  const DenseResults r = attend(p, Arithmetic::kDouble);
  EXPECT_DOUBLE_EQ(r.out[0], weight);
  EXPECT_DOUBLE_EQ(r.lse[0], 1.5 + std::log1p(std::exp(-3.0)));
  const double slope = weight * (1 - weight);  // of the sigmoid, by the difference of the scores
  EXPECT_NEAR(r.dq[0], slope * 2 * 2, 1e-15);
  EXPECT_NEAR(r.dk[0], slope * 2 * 0.75, 1e-15);
  EXPECT_NEAR(r.dk[1], -slope * 2 * 0.75, 1e-15);
  EXPECT_NEAR(r.dv[0], weight, 1e-15);
  EXPECT_NEAR(r.dv[1], 1 - weight, 1e-15);
}

TEST(Oracle, EqualScoresAverageAndSoftcapAndBiasComeInOrder) {
  DenseProblem p;
  p.len_q = 1, p.len_k = 4, p.dim = 1, p.dim_v = 1;
  p.q = {0}, p.k = {1, 2, 3, 4}, p.v = {1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(attend(p, Arithmetic::kDouble).out[0], 3.75);
  p.allowed = {1, 0, 1, 0};
  EXPECT_DOUBLE_EQ(attend(p, Arithmetic::kDouble).out[0], 2.5);
  p.softcap = 2, p.bias_before = {1, 1, 3, 3}, p.bias_after = {0, 0, 5, 0};
  const double a = 2 * std::tanh(0.5), b = 2 * std::tanh(1.5) + 5;
  EXPECT_NEAR(attend(p, Arithmetic::kDouble).out[0],
              (std::exp(a) + 4 * std::exp(b)) / (std::exp(a) + std::exp(b)), 1e-14);
}

TEST(Oracle, RowsThatSeeNothingAreZero) {
  DenseProblem p;
  p.len_q = 2, p.len_k = 2, p.dim = 1, p.dim_v = 1;
  p.q = {1, 1}, p.k = {1, NAN}, p.v = {3, NAN}, p.d_out = {1, NAN};
  p.allowed = {1, 0, 0, 0};
  const DenseResults r = attend(p, Arithmetic::kDouble);
  EXPECT_EQ(r.out, (std::vector<double>{3, 0}));
  EXPECT_EQ(r.lse[1], -HUGE_VAL);
  EXPECT_EQ(r.dq, (std::vector<double>{0, 0}));
  EXPECT_EQ(r.dk, (std::vector<double>{0, 0}));
  EXPECT_EQ(r.dv, (std::vector<double>{1, 0}));
}

// The gradients against central differences of sum(out * d_out) + sum(lse * d_lse).
TEST(Oracle, GradientsAreTheSlopesOfItsForward) {
  Random random(7);
  for (const bool capped : {false, true}) {
    Problem problem = random_problem(random, kF64, {2, 2, 2, 3, 5, 3, 4});
    problem.rule = see_causal();
    problem.softcap = capped ? 1.5 : 0;
    problem.d_lse = Tensor(kF64, {2, 4, 3, 1});
    problem.d_lse.fill_normal(random);
    for (const bool before : {true, false}) {
      problem.biases.push_back({Tensor(kF64, {2, 4, 3, 5}), before});
      problem.biases.back().values.fill_normal(random);
    }
    DenseProblem p = problem.dense();
    const DenseResults r = attend(p, Arithmetic::kDouble);
    const auto loss = [&] {
      const DenseResults f = attend(p, Arithmetic::kLongDouble);
      double sum = 0;
      for (std::size_t n = 0; n < f.out.size(); ++n) sum += f.out[n] * p.d_out[n];
      for (std::size_t n = 0; n < f.lse.size(); ++n) sum += f.lse[n] * p.d_lse[n];
      return sum;
    };
    const auto check = [&](const char* name, std::vector<double>& input,
                           const std::vector<double>& gradient) {
      ASSERT_EQ(input.size(), gradient.size()) << name;
      for (std::size_t n = 0; n < input.size(); n += 1 + input.size() / 40) {
        const double x = input[n], h = 1e-5;
        input[n] = x + h;
        const double up = loss();
        input[n] = x - h;
        const double slope = (up - loss()) / (2 * h);
        input[n] = x;
        EXPECT_NEAR(gradient[n], slope, 1e-8 * (1 + std::abs(slope))) << name << "[" << n << "]";
      }
    };
    check("q", p.q, r.dq);
    check("k", p.k, r.dk);
    check("v", p.v, r.dv);
    if (capped) check("bias before the softcap", p.bias_before, r.d_bias_before);
    check("bias", p.bias_after, r.d_bias_after);
  }
}

// Narrow arithmetics are the same formula, a little off: by no more than a few roundings, and not
// by nothing.
TEST(Oracle, PlainAttentionOfEachDtypeErrsByItsRounding) {
  Random random(8);
  const Problem problem = random_problem(random, kBf16, {1, 1, 2, 20, 40, 16, 16});
  const DenseResults exact = attend(problem.dense(), Arithmetic::kDouble);
  for (const DType dtype : {kF32, kBf16, kF16}) {
    const DenseResults plain = attend(problem.dense(), arithmetic_of(dtype));
    double most = 0;
    for (std::size_t n = 0; n < exact.out.size(); ++n)
      most = std::max(most, std::abs(plain.out[n] - exact.out[n]));
    EXPECT_GT(most, eps(dtype) / 50) << name_of(dtype);
    EXPECT_LT(most, eps(dtype) * 20) << name_of(dtype);
  }
}

TEST(Oracle, NumbersOfEachDtypeRoundToNearestEven) {
  EXPECT_EQ(round_to(kBf16, 1 + 0x1p-8), 1);
  EXPECT_EQ(round_to(kBf16, 1 + 0x3p-8), 1 + 0x1p-6);
  EXPECT_EQ(round_to(kF16, 1 + 0x1p-11), 1);
  EXPECT_EQ(round_to(kF16, 1 + 0x3p-11), 1 + 0x1p-9);
  EXPECT_EQ(round_to(kF16, 65519), 65504);
  EXPECT_EQ(round_to(kF16, 65520), HUGE_VAL);
  EXPECT_EQ(round_to(kF16, -0x1.8p-24), -0x1p-23);
  EXPECT_EQ(round_to(kF16, 2047.5), 2048);
  for (const DType dtype : {kF32, kBf16, kF16, kF64}) {
    EXPECT_EQ(round_to(dtype, largest(dtype)), largest(dtype));
    EXPECT_EQ(round_to(dtype, 1 + eps(dtype)), 1 + eps(dtype));
    EXPECT_EQ(round_to(dtype, 1 + eps(dtype) * 0.4), 1);
    EXPECT_TRUE(std::isnan(round_to(dtype, NAN)));
  }
}

TEST(Oracle, DenseMasksFollowTheirFormulas) {
  using Matrix = std::vector<std::uint8_t>;
  EXPECT_EQ(dense(see_causal(), 1, 1, 2, 3), (Matrix{1, 1, 0, 1, 1, 1}));
  EXPECT_EQ(dense(see_causal(0), 1, 1, 2, 3), (Matrix{1, 0, 0, 1, 1, 0}));
  EXPECT_EQ(dense(see_window(0, 1), 1, 1, 2, 3), (Matrix{0, 1, 1, 0, 0, 1}));
  EXPECT_EQ(dense(see_window(-1, 0, 0) & ~see_lengths({1}), 1, 1, 2, 3),
            (Matrix{0, 0, 0, 0, 1, 0}));
  // Two documents, the second with one query and two keys, and a query that belongs to none.
  EXPECT_EQ(dense(see_documents({0, 1, 2}, {0, 1, 3}, see_causal()), 1, 1, 3, 3),
            (Matrix{1, 0, 0, 0, 1, 1, 0, 0, 0}));
  EXPECT_EQ(dense(parse_rule("c@0.w0:0@1.|", 1, 1, 2, 3), 1, 1, 2, 3), (Matrix{1, 1, 0, 1, 1, 1}));
}

// Whatever the layout, elements are what was set, nothing else is written, and no two share memory.
TEST(Oracle, TensorsLieInMemoryAsAsked) {
  for (int lie = 0; lie < kOutputLies; ++lie) {
    Tensor t(kF32, {2, 3, 4, 5}, static_cast<Lie>(lie));
    double next = 0;
    for_each_index(t.shape(), [&](auto b, auto h, auto s, auto d) { t.set(b, h, s, d, next++); });
    next = 0;
    for_each_index(t.shape(), [&](auto b, auto h, auto s, auto d) {
      EXPECT_EQ(t.at(b, h, s, d), next++) << lie;
    });
    EXPECT_TRUE(t.gaps_untouched()) << lie;
  }
}

}  // namespace
}  // namespace regard::testing
