// SPDX-License-Identifier: Apache-2.0
// Where tensors lie in memory changes no bit of any result, and nothing is written between the
// elements asked for.
#include <gtest/gtest.h>

#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

// The same values in another place. Axes that are one in memory take the values of their last
// index, so they are copied twice: once to share, once back so that both problems agree.
Tensor moved(Tensor& tensor, Lie lie) {
  Tensor copy(tensor.dtype(), tensor.shape(), lie);
  for_each_index(tensor.shape(), [&](auto b, auto h, auto s, auto d) {
    copy.set(b, h, s, d, tensor.at(b, h, s, d));
  });
  for_each_index(tensor.shape(), [&](auto b, auto h, auto s, auto d) {
    tensor.set(b, h, s, d, copy.at(b, h, s, d));
  });
  return copy;
}

Problem strided_problem(Random& random, DType dtype) {
  Problem p = random_problem(random, dtype, {2, 2, 2, 27, 70, 20, 37});
  p.d_lse = Tensor(p.statistics_dtype(), {2, 4, 27, 1});
  p.d_lse.fill_normal(random);
  p.biases.push_back({Tensor(dtype, {2, 4, 27, 70}), false});
  p.biases[0].values.fill_normal(random);
  p.rule = see_causal();
  return p;
}

class Strides : public ::testing::TestWithParam<DType> {};

TEST_P(Strides, InputsMayLieAnywhere) {
  Random random(1);
  for (int lie = 0; lie < kInputLies; ++lie) {
    for (const bool biased : {true, false}) {
      Problem straight = strided_problem(random, GetParam());
      if (!biased) straight.biases.clear();
      Problem strange = straight;
      const auto l = static_cast<Lie>(lie);
      strange.q = moved(straight.q, l), strange.k = moved(straight.k, l),
      strange.v = moved(straight.v, l);
      strange.d_out = moved(straight.d_out, l), strange.d_lse = moved(straight.d_lse, l);
      if (biased) strange.biases[0].values = moved(straight.biases[0].values, l);
      EXPECT_TRUE(same_bits(run(straight), run(strange)))
          << "layout " << lie << (biased ? ", bias" : "");
    }
  }
}

TEST_P(Strides, OutputsMayLieAnywhere) {
  Random random(2);
  const Problem p = strided_problem(random, GetParam());
  const Results expected = run(p);
  for (int lie = 0; lie < kOutputLies; ++lie) {
    Request request;
    request.out_lie = request.gradient_lie = static_cast<Lie>(lie);
    EXPECT_TRUE(same_bits(expected, run(p, serial_executor(), request))) << "layout " << lie;
  }
}

// Gradients of short sequences come all at once, and are written where they belong as they come.
TEST_P(Strides, GradientsOfShortSequencesMayLieAnywhere) {
  Random random(4);
  for (const Rule& rule : {Rule{}, see_causal(), see_window(3, 2), see_lengths({70, 9})}) {
    Problem p = random_problem(random, GetParam(), {2, 3, 1, 27, 70, 16, 24});
    p.rule = rule;
    const Results expected = run(p);
    EXPECT_EQ(errors_of(p, expected), "");
    for (int lie = 0; lie < kOutputLies; ++lie) {
      Request request;
      request.out_lie = request.gradient_lie = static_cast<Lie>(lie);
      EXPECT_TRUE(same_bits(expected, run(p, serial_executor(), request))) << "layout " << lie;
    }
    Request some;
    some.dk = some.dv = false;
    EXPECT_TRUE(same_bits(expected, run(p, serial_executor(), some)));
  }
}

// Rows of a group that fills a tile are read where they lie (queries where the scale is 1), unless
// they lie far apart: then, and in all other groups, they are copied. By the instruction set, a
// tile has 2 to 12 rows; where scores go through stages, as additive ones do, it has all of them.
enum class Way { kPlain, kStaged, kAdditive };
TEST_P(Strides, WholeTilesOfRowsMayLieAnywhere) {
  Random random(5);
  for (const std::int64_t rows : {12, 16, 17, 20, 64}) {
    for (const auto way : {Way::kPlain, Way::kStaged, Way::kAdditive}) {
      Problem straight = random_problem(random, GetParam(), {2, 2, 1, rows, rows, 32, 48});
      straight.scale = 1.0;
      if (way == Way::kStaged) straight.softcap = 20.0;
      if (way == Way::kAdditive) {
        straight.score_v = Tensor(GetParam(), {1, 1, 1, 32});
        straight.score_v.fill_normal(random, 0.3);
      }
      const Results expected = run(straight);
      EXPECT_EQ(errors_of(straight, expected), "") << rows << " rows";
      for (int lie = 0; lie < kInputLies; ++lie) {
        const auto l = static_cast<Lie>(lie);
        Problem here = straight, strange = straight;
        strange.q = moved(here.q, l), strange.k = moved(here.k, l), strange.v = moved(here.v, l);
        EXPECT_TRUE(same_bits(run(here), run(strange))) << rows << " rows, layout " << lie;
      }
    }
  }
}

// Packed (total, heads, dim) tensors are views of batch 1.
TEST_P(Strides, PackedSequencesAreViews) {
  Random random(3);
  Problem p = random_problem(random, GetParam(), {1, 2, 2, 60, 60, 16, 16});
  p.rule = see_documents({0, 25, 60}, {0, 25, 60}, see_causal());
  Problem packed = p;
  packed.q = moved(p.q, Lie::kBshd), packed.k = moved(p.k, Lie::kBshd),
  packed.v = moved(p.v, Lie::kBshd);
  const TensorView thd = TensorView::thd(packed.q.view().data, GetParam(), 60, 4, 16);
  const TensorView own = packed.q.view();
  EXPECT_EQ(thd.shape, own.shape);
  for (int axis = 1; axis < 4; ++axis) EXPECT_EQ(thd.strides[axis], own.strides[axis]);
  EXPECT_TRUE(same_bits(run(p), run(packed)));
}

INSTANTIATE_TEST_SUITE_P(DTypes, Strides, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
