// SPDX-License-Identifier: Apache-2.0
// forward() against the oracle: every head dimension's edges, every length's edges, each kind of
// mask, bias and softcap.
#include <gtest/gtest.h>

#include "regard/plan.h"
#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

Problem forward_problem(Random& random, DType dtype, const Sizes& sizes) {
  Problem p = random_problem(random, dtype, sizes);
  p.d_out = Tensor();
  return p;
}

TEST(Forward, EveryDim) {
  Random random(1);
  for (std::int64_t dim = 1; dim <= 512; dim += dim < 70 ? 1 : 37) {
    const Problem p = forward_problem(random, kF32, {1, 1, 2, 15, 40, dim, 1 + (dim * 7) % 90});
    EXPECT_EQ(errors_of(p, run(p)), "") << "dim " << dim;
  }
  for (const std::int64_t dim : {511, 512}) {
    const Problem p = forward_problem(random, kF32, {1, 1, 1, 30, 70, dim, 1023 - dim});
    EXPECT_EQ(errors_of(p, run(p)), "") << "dim " << dim;
  }
}

TEST(Forward, EveryDimV) {
  Random random(2);
  for (std::int64_t dim_v = 1; dim_v <= 512; dim_v += dim_v < 70 ? 1 : 37) {
    const Problem p = forward_problem(random, kBf16, {1, 1, 1, 15, 40, 8, dim_v});
    EXPECT_EQ(errors_of(p, run(p)), "") << "dim_v " << dim_v;
  }
  for (const DType dtype : {kF32, kBf16, kF16, kF64}) {
    for (const std::int64_t dim_v : {600, 1023, 2048}) {
      const Problem p = forward_problem(random, dtype, {1, 1, 1, 15, 40, 8, dim_v});
      EXPECT_EQ(errors_of(p, run(p)), "") << "dim_v " << dim_v;
    }
  }
}

TEST(Forward, EveryShortLength) {
  Random random(3);
  for (std::int64_t len_q = 0; len_q <= 26; ++len_q) {
    for (const std::int64_t len_k : {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97}) {
      Problem p = forward_problem(random, kF32, {1, 1, 1, len_q, len_k, 16, 8});
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k;
      p.rule = see_causal();
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k << ", causal";
    }
  }
}

TEST(Forward, LengthsAroundChunks) {
  Random random(4);
  for (const std::int64_t len_k : {511, 512, 513, 543, 544, 1024, 1025, 1536, 1800}) {
    Problem p = forward_problem(random, kF32, {1, 1, 1, 25, len_k, 32, 32});
    EXPECT_EQ(errors_of(p, run(p)), "") << len_k;
    p.rule = see_window(100, 3);
    EXPECT_EQ(errors_of(p, run(p)), "") << len_k << ", window";
  }
  for (const std::int64_t len_q : {767, 768, 769, 1537}) {
    Problem p = forward_problem(random, kF32, {1, 1, 1, len_q, 100, 16, 16});
    p.rule = see_causal();
    EXPECT_EQ(errors_of(p, run(p)), "") << len_q;
  }
}

// Rows of long sequences are asked for a chunk ahead, whatever the mask leaves of the next chunk.
TEST(Forward, ChunksOfRowsBeyondTheCache) {
  Random random(14);
  for (const DType dtype : {kF32, kBf16, kF64}) {
    for (const Sizes& sizes :
         {Sizes{1, 1, 2, 100, 1100, 64, 64}, Sizes{1, 1, 8, 1, 1100, 64, 64}}) {
      for (const Rule& rule : {Rule{}, see_causal(), see_window(-1, 3), see_window(600, -1)}) {
        Problem p = forward_problem(random, dtype, sizes);
        p.rule = rule;
        EXPECT_EQ(errors_of(p, run(p)), "") << sizes.len_q << " queries";
      }
    }
  }
}

TEST(Forward, NoRowsNoKeysNoBatch) {
  Random random(5);
  for (const Sizes& sizes : {Sizes{0, 1, 1, 4, 4, 8, 8}, Sizes{2, 1, 2, 0, 4, 8, 8},
                             Sizes{2, 1, 2, 4, 0, 8, 8}, Sizes{1, 1, 1, 0, 0, 8, 8}}) {
    Problem p = forward_problem(random, kF32, sizes);
    EXPECT_EQ(errors_of(p, run(p)), "");
    p.d_out = Tensor(kF32, {sizes.batch, sizes.group, sizes.len_q, 8});
    p.d_out.fill(1);
    EXPECT_EQ(errors_of(p, run(p)), "") << "backward";
  }
}

TEST(Forward, EachKindOfMask) {
  Random random(6);
  Tensor allowed(DType::kBool, {2, 1, 60, 150});
  for_each_index(allowed.shape(), [&](auto b, auto h, auto i, auto j) {
    allowed.set(b, h, i, j, random() % 3 == 0);
  });
  const std::pair<const char*, Rule> rules[] = {
      {"causal", see_causal()},
      {"causal, top-left", see_causal(0)},
      {"causal, far left", see_causal(-30)},
      {"window", see_window(20, 0)},
      {"window both sides", see_window(10, 40)},
      {"window without a left edge", see_window(-1, 5, 3)},
      {"window past all keys", see_window(3, 3, 1000)},
      {"key lengths", see_lengths({150, 33})},
      {"no keys", see_lengths({0, 7})},
      {"tensor", see_tensor(allowed)},
      {"documents", see_documents({0, 20, 20, 60}, {0, 50, 70, 150})},
      {"causal documents",
       see_documents({0, 20, 21, 58}, {0, 50, 70, 140}, see_causal() & see_window(30, -1))},
      {"and, or, not",
       (see_causal() & ~see_tensor(allowed)) | see_window(3, 3) | ~see_lengths({140, 20})},
  };
  for (const auto& [name, rule] : rules) {
    for (const DType dtype : {kF32, kBf16}) {
      Problem p =
          forward_problem(random, dtype, {rule.cu_q.empty() ? 2 : 1, 1, 2, 60, 150, 32, 32});
      p.rule = rule;
      EXPECT_EQ(errors_of(p, run(p)), "") << name << ", " << name_of(dtype);
    }
  }
}

// Both ways through a tile agree: a bias of zeros and a softcap far above the scores send
// everything through the staged one.
TEST(Forward, TheStagedWayAgreesWithThePlainOne) {
  Random random(7);
  for (const DType dtype : {kF32, kBf16, kF16, kF64}) {
    const Problem plain = forward_problem(random, dtype, {1, 1, 2, 50, 140, 48, 40});
    Problem staged = plain;
    staged.biases.push_back({Tensor(kF32, {1, 1, 1, 1}), false});
    staged.biases[0].values.fill(0);
    EXPECT_EQ(errors_of(plain, run(staged)), "") << name_of(dtype);
    EXPECT_EQ(errors_of(staged, run(plain)), "") << name_of(dtype);
  }
}

TEST(Forward, EveryBroadcastOfABias) {
  Random random(8);
  for (int axes = 0; axes < 16; ++axes) {
    for (const bool before : {false, true}) {
      Problem p = forward_problem(random, kF32, {2, 1, 2, 20, 45, 16, 16});
      const auto size = [&](int axis, std::int64_t full) { return axes >> axis & 1 ? 1 : full; };
      p.biases.push_back(
          {Tensor(kBf16, {size(0, 2), size(1, 2), size(2, 20), size(3, 45)}), before});
      p.biases[0].values.fill_normal(random, 2);
      p.softcap = before ? 2 : 0;
      p.rule = see_causal();
      EXPECT_EQ(errors_of(p, run(p)), "") << "axes " << axes;
    }
  }
}

TEST(Forward, ScaleOfAnySignAndSoftcap) {
  Random random(9);
  for (const double scale : {0.0, 1.0, -0.3, 1e-3}) {
    for (const double cap : {0.0, 0.5, 50.0}) {
      Problem p = forward_problem(random, kF32, {1, 1, 1, 20, 70, 8, 8});
      p.scale = scale;
      p.softcap = cap;
      EXPECT_EQ(errors_of(p, run(p)), "") << "scale " << scale << ", softcap " << cap;
    }
  }
}

TEST(Forward, APlanMadeBeforeGivesTheSameBits) {
  Random random(10);
  Problem p = forward_problem(random, kF32, {2, 1, 2, 60, 90, 16, 16});
  p.rule = see_causal() & see_lengths({90, 40});
  const Results expected = run(p);
  Plan plan;
  ASSERT_TRUE(Plan::make(p.rule.mask, {2, 2, 60, 90}, &plan).ok());
  for (int round = 0; round < 2; ++round) {
    Results got = expected;
    got.out.fill(-1);
    ASSERT_TRUE(forward({p.q.view(), p.k.view(), p.v.view()}, p.options(),
                        {got.out.mutable_view(), got.maximum.mutable_view(),
                         got.log_sum.mutable_view(), got.lse.mutable_view()},
                        serial_executor(), &plan)
                    .ok());
    EXPECT_TRUE(same_bits(expected, got));
  }
}

// Row statistics are optional; out does not depend on which are asked for.
TEST(Forward, StatisticsAreOptional) {
  Random random(11);
  const Problem p = forward_problem(random, kF32, {1, 1, 2, 30, 50, 16, 16});
  const Results expected = run(p);
  for (int asked = 0; asked < 8; ++asked) {
    Tensor out(kF32, p.q.shape()), maximum(kF32, {1, 2, 30, 1}), log_sum = maximum, lse = maximum;
    Outputs outputs{out.mutable_view(), {}, {}, {}};
    if (asked & 1) outputs.maximum = maximum.mutable_view();
    if (asked & 2) outputs.log_sum = log_sum.mutable_view();
    if (asked & 4) outputs.lse = lse.mutable_view();
    ASSERT_TRUE(forward({p.q.view(), p.k.view(), p.v.view()}, p.options(), outputs).ok());
    EXPECT_TRUE(same_bits(out, expected.out)) << asked;
    EXPECT_TRUE(!(asked & 1) || same_bits(maximum, expected.maximum)) << asked;
    EXPECT_TRUE(!(asked & 2) || same_bits(log_sum, expected.log_sum)) << asked;
    EXPECT_TRUE(!(asked & 4) || same_bits(lse, expected.lse)) << asked;
  }
}

}  // namespace
}  // namespace regard::testing
