// SPDX-License-Identifier: Apache-2.0
// Few queries against many keys, as a decoder's steps are: prepared keys, and gradients that are
// written as they are computed.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/core/support/additive.h"
#include "tests/core/support/error_bar.h"
#include "tests/core/support/executors.h"

namespace regard::testing {
namespace {

class AdditiveStepTest : public ::testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }
};

// Where one query comes to each key, their gradients go straight to the tensor, unless its rows or
// a pair that needs care forbid it.
TEST_P(AdditiveStepTest, GradientsOfOneQuerysKeys) {
  Random random(37);
  for (const std::int64_t dim : {32, 64, 96, 48}) {
    for (const std::int64_t len_k : {1, 20, 131}) {
      Problem p = additive_problem(random, dtype(), {2, 2, 1, 1, len_k, dim, 24});
      for (const bool wide : {false, true}) {
        for (std::int64_t d = 0; wide && d < dim; ++d) {
          p.q.set(0, 0, 0, d, dtype() == kF64 ? 600 : 60);
          p.k.set(0, 0, len_k / 2, d, dtype() == kF64 ? -600.5 : -60.5);
        }
        for (const char* mask : {"", "w9:0", "t5:3"}) {
          const std::string what = "dim " + std::to_string(dim) + ", " + std::to_string(len_k) +
                                   " keys, mask '" + mask + (wide ? "', wide" : "'");
          p.rule = parse_rule(mask, 2, 2, 1, len_k);
          const Results plain = run(p);
          ASSERT_EQ(errors_of(p, plain), "") << what;
          for (const Lie lie : {Lie::kBshd, Lie::kPadded, Lie::kReversed, Lie::kEverySecond}) {
            Request request;
            request.gradient_lie = lie;
            ASSERT_TRUE(same_bits(plain, run(p, serial_executor(), request)))
                << what << ", lying in way " << static_cast<int>(lie);
          }
        }
      }
    }
  }
}

TEST_P(AdditiveStepTest, PreparedKeysGiveTheSameBits) {
  Random random(31);
  for (const std::int64_t dim : {1, 37, 64}) {
    for (const std::int64_t len_q : {1, 4, 20}) {
      Problem p = additive_problem(random, dtype(), {2, 2, 2, len_q, 130, dim, 12});
      // Wide keys and queries too, which cancel.
      for (std::int64_t d = 0; d < dim; ++d) {
        p.q.set(0, 0, 0, d, 60);
        p.k.set(0, 0, 3, d, -60.5);
        p.k.set(1, 1, 129, d, 500);
      }
      const std::string what = std::to_string(len_q) + " queries, dim " + std::to_string(dim);
      for (const char* mask : {"", "w20:5"}) {
        p.rule = parse_rule(mask, 2, 4, len_q, 130);
        const Results plain = run(p);
        EXPECT_EQ(*mask == 0 ? errors_of(p, plain) : "", "") << what;
        EXPECT_TRUE(same_bits(plain, run(with_prepared_keys(p))))
            << what << ", mask '" << mask << "'";
        for (int lie = 1; *mask == 0 && lie < kOutputLies; ++lie)
          EXPECT_TRUE(same_bits(plain, run(with_prepared_keys(p, static_cast<Lie>(lie)))))
              << what << ", lying in way " << lie;
      }
    }
  }
}

// A key that is NaN is known from what was prepared of it: NaN where it is seen, and nowhere else.
TEST_P(AdditiveStepTest, PreparedNanStaysWhereItIsSeen) {
  Random random(32);
  for (const std::int64_t len_q : {2, 14}) {
    Problem p = additive_problem(random, dtype(), {1, 1, 1, len_q, 45, 64, 4});
    p.k.set(0, 0, 41, 7, std::nan(""));
    const Problem prepared = with_prepared_keys(p);
    const Results seen = run(prepared);
    for (std::int64_t i = 0; i < len_q; ++i)
      EXPECT_TRUE(std::isnan(seen.out.at(0, 0, i, 0))) << len_q << " queries, row " << i;
    for (Problem hidden : {prepared, p}) {
      hidden.rule = see_lengths({41});
      const Results r = run(hidden);
      for_each_index(r.dq.shape(), [&](auto b, auto h, auto i, auto d) {
        ASSERT_FALSE(std::isnan(r.dq.at(b, h, i, d)));
      });
      for_each_index(r.dk.shape(), [&](auto b, auto h, auto j, auto d) {
        ASSERT_FALSE(std::isnan(r.dk.at(b, h, j, d)));
      });
      for_each_index(r.d_score_v.shape(), [&](auto b, auto h, auto i, auto d) {
        ASSERT_FALSE(std::isnan(r.d_score_v.at(b, h, i, d)));
      });
    }
  }
}

// Several blocks of keys, whose gradients a group of heads shares.
TEST_P(AdditiveStepTest, StepsOfAGroupOverManyKeys) {
  Random random(34);
  for (const std::int64_t len_k : {97, 300, 1700}) {
    const Problem p = additive_problem(random, dtype(), {1, 2, 3, 2, len_k, 20, 24});
    const Results plain = run(p);
    ASSERT_EQ(errors_of(p, plain), "") << len_k << " keys";
    EXPECT_TRUE(same_bits(
        plain, run(with_prepared_keys(p), CountingExecutor(3, std::chrono::microseconds(200)))))
        << len_k << " keys";
  }
}

// Prepared keys whose rows run backwards, and are read where they lie.
TEST_P(AdditiveStepTest, PreparedKeysBackwards) {
  Random random(35);
  const Problem p = additive_problem(random, dtype(), {1, 1, 1, 2, 130, 64, 8});
  const Problem prepared = with_prepared_keys(p);
  Tensor reversed = prepared.prepared_keys;
  for_each_index(reversed.shape(), [&](auto, auto, auto j, auto d) {
    reversed.set(0, 0, 129 - j, d, prepared.prepared_keys.at(0, 0, j, d));
  });
  Options options = p.options();
  TensorView view = reversed.view();
  view.data = reversed.element(0, 0, 129, 0);
  view.strides[2] = -view.strides[2];
  options.score->prepared_keys = view;
  const Results expected = run(p);
  Tensor out = expected.out, dq = expected.dq, dk = expected.dk;
  for (Tensor* tensor : {&out, &dq, &dk}) tensor->fill(7);
  Outputs outputs;
  outputs.out = out.mutable_view();
  ASSERT_TRUE(forward({p.q.view(), p.k.view(), p.v.view()}, options, outputs).ok());
  const BackwardInputs inputs{p.q.view(),
                              p.k.view(),
                              p.v.view(),
                              expected.out.view(),
                              expected.maximum.view(),
                              expected.log_sum.view(),
                              p.d_out.view(),
                              p.d_lse.view()};
  Gradients gradients;
  gradients.dq = dq.mutable_view();
  gradients.dk = dk.mutable_view();
  ASSERT_TRUE(backward(inputs, options, gradients).ok());
  EXPECT_EQ(out.values(), expected.out.values());
  EXPECT_EQ(dq.values(), expected.dq.values());
  EXPECT_EQ(dk.values(), expected.dk.values());
}

// A slice of prepared keys serves the same slice of keys, and one of batch size 1 serves a batch of
// equal keys.
TEST_P(AdditiveStepTest, PreparedKeysAreATensorLikeTheKeys) {
  Random random(33);
  for (const std::int64_t len_q : {1, 20}) {
    const Problem p = additive_problem(random, dtype(), {2, 1, 1, len_q, 90, 64, 8});
    const Problem some = p.keys(17, 40);
    EXPECT_TRUE(same_bits(run(with_prepared_keys(p).keys(17, 40)), run(some)))
        << len_q << " queries";
    Problem equal = p;
    for_each_index({1, 1, 90, 64}, [&](auto, auto, auto j, auto d) {
      equal.k.set(1, 0, j, d, p.k.at(0, 0, j, d));
    });
    Problem broadcast = with_prepared_keys(equal);
    broadcast.prepared_keys = broadcast.prepared_keys.slice(0, 0, 1);
    EXPECT_TRUE(same_bits(run(broadcast), run(equal))) << len_q << " queries, broadcast";
  }
}

std::string dtype_name(const ::testing::TestParamInfo<DType>& info) { return name_of(info.param); }
INSTANTIATE_TEST_SUITE_P(EachDType, AdditiveStepTest, ::testing::Values(kF32, kBf16, kF16, kF64),
                         dtype_name);

// Gradients that are so many that they are written with streaming stores, as float32 and float64
// are.
TEST(AdditiveSteps, StreamedGradients) {
  Random random(38);
  for (const DType dtype : {kF32, kF64}) {
    for (const std::int64_t len_q : {1, 3}) {
      Problem p =
          additive_problem(random, dtype, {1, 2, 1, len_q, dtype == kF32 ? 14000 : 7000, 64, 32});
      p.rule = see_lengths({p.len_k() - 100});
      const std::string what =
          std::string(name_of(dtype)) + ", " + std::to_string(len_q) + " queries";
      const Results plain = run(p, CountingExecutor(2, std::chrono::microseconds(200)));
      ASSERT_EQ(errors_of(p, plain), "") << what;
      Request request;
      request.gradient_lie = Lie::kPadded;
      EXPECT_TRUE(same_bits(plain, run(p, serial_executor(), request))) << what;
    }
  }
}

}  // namespace
}  // namespace regard::testing
