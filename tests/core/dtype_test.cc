// SPDX-License-Identifier: Apache-2.0
// Every dtype in and out, with the error bars of conventions: forward, all gradients, wide outputs,
// mixed bias dtypes.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

class EachDType : public ::testing::TestWithParam<DType> {};

TEST_P(EachDType, IsWithinTheErrorBars) {
  Random random(1);
  for (const std::int64_t dim : {8, 33, 64, 128}) {
    for (const std::int64_t len_k : {30, 250}) {
      for (const bool wide : {false, true}) {
        Problem p = random_problem(random, GetParam(), {1, 1, 2, 60, len_k, dim, dim});
        p.rule = see_causal();
        Request request;
        request.wide_out = request.wide_gradients = wide;
        EXPECT_EQ(errors_of(p, run(p, serial_executor(), request)), "")
            << "dim " << dim << ", len_k " << len_k << (wide ? ", wide" : "");
      }
    }
  }
}

// A wide result, rounded, is the narrow one.
TEST_P(EachDType, NarrowOutputsAreTheWideOnesRounded) {
  Random random(2);
  Problem p = random_problem(random, GetParam(), {1, 1, 2, 40, 90, 32, 32});
  p.d_out = Tensor();
  Request wide;
  wide.wide_out = true;
  EXPECT_TRUE(same_bits(run(p).out, run(p, serial_executor(), wide).out.as(GetParam())));
}

TEST_P(EachDType, TakesABiasOfAnyDType) {
  Random random(3);
  for (const DType bias : {kF32, kBf16, kF16, kF64}) {
    Problem p = random_problem(random, GetParam(), {1, 1, 2, 30, 60, 16, 16});
    p.biases.push_back({Tensor(bias, {1, 2, 30, 60}), false});
    p.biases[0].values.fill_normal(random);
    EXPECT_EQ(errors_of(p, run(p)), "") << "bias " << name_of(bias);
  }
}

// One key: the output is that key's value, exactly, in every dtype, up to the largest numbers.
TEST_P(EachDType, OneKeyGivesItsValueExactly) {
  Random random(4);
  for (const std::int64_t dim_v : {1, 7, 16, 33}) {
    Problem p = random_problem(random, GetParam(), {1, 1, 1, 14, 1, 8, dim_v});
    p.d_out = Tensor();
    p.v.set(0, 0, 0, 0, largest(GetParam()));
    const Results r = run(p);
    for_each_index({1, 1, 14, dim_v}, [&](auto, auto, auto i, auto d) {
      EXPECT_EQ(r.out.at(0, 0, i, d), p.v.at(0, 0, 0, d));
    });
  }
}

// Results past the largest number of a narrow dtype round to infinity, and small ones to that
// dtype's denormals.
TEST(Float16, OutputsRoundAtTheEdges) {
  Problem p;
  p.q = Tensor(kF16, {1, 1, 1, 4}), p.k = Tensor(kF16, {1, 1, 2, 4}),
  p.v = Tensor(kF16, {1, 1, 2, 4});
  p.q.fill(0), p.k.fill(0);
  const double values[2][4] = {{0x1p-24, 0x1p-23, 65504, 0x3p-24}, {0x1p-24, 0x2p-23, 65504, 0}};
  for_each_index({1, 1, 2, 4},
                 [&](auto, auto, auto j, auto d) { p.v.set(0, 0, j, d, values[j][d]); });
  const Results r = run(p);
  EXPECT_EQ(r.out.at(0, 0, 0, 0), 0x1p-24);
  EXPECT_EQ(r.out.at(0, 0, 0, 1), 0x3p-24);
  EXPECT_EQ(r.out.at(0, 0, 0, 2), 65504);
  EXPECT_EQ(r.out.at(0, 0, 0, 3), 0x1p-23);  // halfway between two denormals: to the even one
}

INSTANTIATE_TEST_SUITE_P(DTypes, EachDType, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
