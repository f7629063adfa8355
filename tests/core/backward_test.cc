// SPDX-License-Identifier: Apache-2.0
// backward() against the oracle: gradients of q, k, v and of biases of every broadcast shape, with
// and without one through lse.
#include <gtest/gtest.h>

#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

TEST(Backward, EveryDim) {
  Random random(1);
  for (std::int64_t dim = 1; dim <= 512; dim += dim < 70 ? 3 : 63) {
    for (const std::int64_t dim_v : {dim, 513 - dim}) {
      const Problem p = random_problem(random, kF32, {1, 1, 1, 15, 40, dim, dim_v});
      EXPECT_EQ(errors_of(p, run(p)), "") << "dim " << dim << ", dim_v " << dim_v;
    }
  }
  for (const DType dtype : {kF32, kBf16, kF16, kF64}) {
    for (const std::int64_t dim_v : {777, 2048}) {
      const Problem p = random_problem(random, dtype, {1, 1, 1, 15, 40, 24, dim_v});
      EXPECT_EQ(errors_of(p, run(p)), "") << "dim_v " << dim_v;
    }
  }
}

TEST(Backward, EveryShortLength) {
  Random random(2);
  for (std::int64_t len_q = 1; len_q <= 26; ++len_q) {
    for (const std::int64_t len_k : {1, 2, 15, 16, 17, 32, 33, 65, 97}) {
      Problem p = random_problem(random, kF32, {1, 1, 1, len_q, len_k, 16, 8});
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k;
      p.rule = see_causal();
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k << ", causal";
    }
  }
}

TEST(Backward, LengthsAroundBlocks) {
  Random random(3);
  const std::pair<std::int64_t, std::int64_t> lengths[] = {
      {95, 96}, {97, 193}, {200, 767}, {130, 769}, {60, 1600}, {1600, 60}, {513, 512}};
  for (const auto& [len_q, len_k] : lengths) {
    for (const DType dtype : {kF32, kBf16}) {
      Problem p = random_problem(random, dtype, {1, 1, 1, len_q, len_k, 16, 24});
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k;
      p.rule = see_causal();
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k << ", causal";
      p.rule = see_window(40, 10);
      EXPECT_EQ(errors_of(p, run(p)), "") << len_q << " x " << len_k << ", window";
    }
  }
}

// Products leave out the lanes and groups that no row of a tile sees. Windows whose edges fall on
// every lane of a panel, and on every key of a group:
TEST(Backward, EveryEdgeOfAWindow) {
  Random random(13);
  for (const DType dtype : {kF32, kBf16, kF64}) {
    for (std::int64_t edge = 0; edge <= 40; ++edge) {
      for (const Rule& rule : {see_window(edge, 0), see_window(0, edge), see_window(1, 2, edge)}) {
        Problem p = random_problem(random, dtype, {1, 1, 1, 101, 101, 16, 24});
        p.rule = rule;
        EXPECT_EQ(errors_of(p, run(p)), "") << "edge " << edge;
      }
    }
  }
}

// Gaps in every panel and group, however narrow they are.
TEST(Backward, GapsEverywhere) {
  Random random(15);
  for (const DType dtype : {kF32, kBf16, kF64}) {
    for (const std::int64_t step : {2, 3, 5, 17}) {
      for (int kind = 0; kind < 3; ++kind) {
        Tensor allowed(DType::kBool, {1, 1, 200, 90});
        for_each_index(allowed.shape(), [&](auto, auto, auto i, auto j) {
          const bool by_query = i % step == 0, by_key = j % step == 0;
          allowed.set(0, 0, i, j,
                      kind == 0   ? by_query
                      : kind == 1 ? by_key
                                  : by_query || j % 12 == 7);
        });
        Problem p = random_problem(random, dtype, {1, 1, 1, 200, 90, 16, 24});
        p.rule = see_tensor(allowed);
        EXPECT_EQ(errors_of(p, run(p)), "") << "step " << step << ", kind " << kind;
      }
    }
  }
}

// Rows that come from memory: those of the next chunk are asked for while one passes.
TEST(Backward, ChunksOfRowsBeyondTheCache) {
  Random random(14);
  for (const DType dtype : {kF32, kBf16}) {
    for (const Rule& rule : {Rule{}, see_causal(), see_window(100, 3), see_window(700, -1)}) {
      for (const Sizes& sizes :
           {Sizes{1, 1, 1, 1100, 90, 64, 72}, Sizes{1, 1, 1, 190, 1100, 64, 72}}) {
        Problem p = random_problem(random, dtype, sizes);
        p.rule = rule;
        EXPECT_EQ(errors_of(p, run(p)), "") << sizes.len_q << " queries";
      }
    }
  }
}

TEST(Backward, EveryBroadcastOfABias) {
  Random random(4);
  for (int axes = 0; axes < 16; ++axes) {
    for (const DType dtype : {kF32, kBf16}) {
      Problem p = random_problem(random, dtype, {2, 2, 2, 30, 45, 16, 16});
      const auto size = [&](int axis, std::int64_t full) { return axes >> axis & 1 ? 1 : full; };
      for (const bool before : {false, true}) {
        p.biases.push_back(
            {Tensor(before ? kF32 : dtype, {size(0, 2), size(1, 4), size(2, 30), size(3, 45)}),
             before});
        p.biases.back().values.fill_normal(random);
      }
      EXPECT_EQ(errors_of(p, run(p)), "") << "axes " << axes;
      p.softcap = 3;
      p.rule = see_causal() & see_lengths({45, 11});
      EXPECT_EQ(errors_of(p, run(p)), "") << "axes " << axes << ", softcap";
    }
  }
}

// A column per query (keys broadcast) and a row per key (queries broadcast) over many blocks of
// both.
TEST(Backward, BroadcastBiasesOverManyBlocks) {
  Random random(5);
  for (const Shape& shape :
       {Shape{1, 1, 300, 1}, Shape{1, 1, 1, 1100}, Shape{1, 2, 300, 1100}, Shape{1, 1, 1, 1}}) {
    Problem p = random_problem(random, kF32, {1, 1, 2, 300, 1100, 8, 8});
    p.biases.push_back({Tensor(kF32, shape), false});
    p.biases.back().values.fill_normal(random);
    p.rule = see_causal();
    EXPECT_EQ(errors_of(p, run(p)), "") << shape[2] << " x " << shape[3];
  }
}

TEST(Backward, AGradientThroughLse) {
  Random random(6);
  for (const DType dtype : {kF32, kBf16, kF16, kF64}) {
    Problem p = random_problem(random, dtype, {2, 1, 2, 40, 75, 16, 24});
    p.d_lse = Tensor(p.statistics_dtype(), {2, 2, 40, 1}, Lie::kTransposed);
    p.d_lse.fill_normal(random, 3);
    p.rule = see_window(20, 5);
    EXPECT_EQ(errors_of(p, run(p)), "") << name_of(dtype);
    p.d_out.fill(0);  // only through lse
    EXPECT_EQ(errors_of(p, run(p)), "") << name_of(dtype) << ", d_out 0";
  }
}

// Only what is asked for is computed, and it is the same, bit by bit, whatever else is asked for.
TEST(Backward, AnySubsetOfGradients) {
  Random random(7);
  Problem p = random_problem(random, kF32, {1, 2, 2, 50, 200, 16, 24});
  p.biases.push_back({Tensor(kF32, {1, 4, 1, 200}), false});
  p.biases.back().values.fill_normal(random);
  p.rule = see_causal();
  const Results all = run(p);
  EXPECT_EQ(errors_of(p, all), "");
  for (int asked = 0; asked < 16; ++asked) {
    Request request;
    request.dq = asked & 1, request.dk = asked & 2, request.dv = asked & 4,
    request.d_bias = {(asked & 8) != 0};
    EXPECT_TRUE(same_bits(all, run(p, serial_executor(), request))) << asked;
  }
}

// Rows that see nothing send nothing back, whatever arrives at them.
TEST(Backward, RowsThatSeeNothingHaveNoGradient) {
  Random random(8);
  Problem p = random_problem(random, kF32, {1, 1, 1, 40, 30, 16, 16});
  p.rule = see_causal();  // bottom-right: the first ten rows see nothing
  for_each_index({1, 1, 10, 16}, [&](auto, auto, auto i, auto d) {
    p.d_out.set(0, 0, i, d, d % 2 ? NAN : INFINITY);
  });
  const Results r = run(p);
  for_each_index({1, 1, 10, 16}, [&](auto, auto, auto i, auto d) {
    EXPECT_EQ(r.out.at(0, 0, i, d), 0);
    EXPECT_EQ(r.dq.at(0, 0, i, d), 0);
  });
  Problem calm = p;
  for_each_index({1, 1, 10, 16},
                 [&](auto, auto, auto i, auto d) { calm.d_out.set(0, 0, i, d, 0); });
  EXPECT_EQ(errors_of(calm, r), "");
}

// Keys that no query sees get a gradient of exactly 0, also those past every length.
TEST(Backward, KeysThatNobodySeesGetZero) {
  Random random(9);
  for (const DType dtype : {kF32, kBf16}) {
    Problem p = random_problem(random, dtype, {2, 1, 2, 20, 300, 16, 16});
    p.rule = see_lengths({100, 0}) & see_window(3, 3, 40);
    const Results r = run(p);
    EXPECT_EQ(errors_of(p, r), "");
    for_each_index({2, 1, 300, 16}, [&](auto b, auto h, auto j, auto d) {
      if (b == 0 && j >= 37 && j <= 62) return;
      EXPECT_EQ(r.dk.at(b, h, j, d), 0) << j;
      EXPECT_EQ(r.dv.at(b, h, j, d), 0) << j;
    });
  }
}

// Nothing to compute is no error, whichever axis is empty; what is asked for is zeros.
TEST(Backward, AnyAxisMayBeEmpty) {
  Random random(41);
  for (const Sizes& sizes :
       {Sizes{0, 2, 2, 5, 7, 8, 8}, Sizes{2, 0, 2, 5, 7, 8, 8}, Sizes{2, 4, 0, 5, 7, 8, 8},
        Sizes{2, 2, 2, 0, 7, 8, 8}, Sizes{2, 2, 2, 5, 0, 8, 8}, Sizes{0, 4, 0, 0, 0, 8, 8}}) {
    for (const char* mask : {"", "c", "w3:1"}) {
      Problem p = random_problem(random, kF32, sizes);
      p.rule = parse_rule(mask, sizes.batch, p.heads(), sizes.len_q, sizes.len_k);
      const Results r = run(p);
      for (const Tensor* tensor : {&r.out, &r.dq, &r.dk, &r.dv})
        for (const double x : tensor->values()) ASSERT_EQ(x, 0);
    }
  }
}

}  // namespace
}  // namespace regard::testing
