// SPDX-License-Identifier: Apache-2.0
// Gradients through a merge, against slopes of the merge's own formula taken numerically in long
// double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "regard/state.h"
#include "tests/core/support/tensor.h"

namespace regard::testing {
namespace {

constexpr long double kNothing = -std::numeric_limits<long double>::infinity();

struct Part {
  std::vector<long double> out;
  long double lse;
};

Part merged(const std::vector<Part>& parts) {
  long double most = kNothing, sum = 0;
  for (const Part& part : parts) most = std::max(most, part.lse);
  Part whole{std::vector<long double>(parts[0].out.size()), kNothing};
  if (most == kNothing) return whole;
  for (const Part& part : parts) sum += std::exp(part.lse - most);
  for (const Part& part : parts) {
    if (part.lse == kNothing) continue;
    for (std::size_t d = 0; d < whole.out.size(); ++d)
      whole.out[d] += std::exp(part.lse - most) / sum * part.out[d];
  }
  whole.lse = most + std::log(sum);
  return whole;
}

// A state of shape (2, 2, 3, dim); rows of `lies` in memory.
struct Owned {
  Tensor out, maximum, log_sum;
  Owned(DType dtype, std::int64_t dim, Lie lie)
      : out(dtype, {2, 2, 3, dim}, lie),
        maximum(dtype, {2, 2, 3, 1}),
        log_sum(dtype, {2, 2, 3, 1}) {}
  State state() { return {out.mutable_view(), maximum.mutable_view(), log_sum.mutable_view()}; }
};

void check(DType dtype, std::int64_t dim, int count, long double scale, bool with_lse) {
  Random random(static_cast<std::uint64_t>(dim * 131 + count));
  std::normal_distribution<double> normal;
  const Lie lies[] = {Lie::kBhsd, Lie::kBshd, Lie::kPadded, Lie::kTransposed};
  std::vector<Owned> parts;
  for (int n = 0; n < count; ++n) parts.emplace_back(dtype, dim, lies[n % 4]);
  Owned whole(dtype, dim, Lie::kReversed);
  Tensor d_out(dtype, {2, 2, 3, dim}, Lie::kStrange), d_lse(dtype, {2, 2, 3, 1});
  d_out.fill_normal(random);
  d_lse.fill_normal(random);
  const auto parts_at = [&](auto b, auto h, auto i) {
    std::vector<Part> row;
    for (Owned& part : parts) {
      Part& own = row.emplace_back();
      const long double maximum = part.maximum.at(b, h, i, 0);
      own.lse = maximum == kNothing ? kNothing : maximum + part.log_sum.at(b, h, i, 0);
      for (std::int64_t d = 0; d < dim; ++d) own.out.push_back(part.out.at(b, h, i, d));
    }
    return row;
  };
  for_each_index({2, 2, 3, 1}, [&](auto b, auto h, auto i, auto) {
    for (Owned& part : parts) {
      // Some parts of a row saw nothing, and hold NaN where nobody may look; row (1, 1, 2) saw
      // nothing at all.
      const bool nothing = random() % 4 == 0 || (b == 1 && h == 1 && i == 2);
      part.maximum.set(b, h, i, 0,
                       nothing ? -std::numeric_limits<double>::infinity()
                               : normal(random) * static_cast<double>(scale));
      if (nothing) continue;
      part.log_sum.set(b, h, i, 0, std::abs(normal(random)));
      for (std::int64_t d = 0; d < dim; ++d) part.out.set(b, h, i, d, normal(random));
    }
    const Part all = merged(parts_at(b, h, i));
    // The halves of the whole's lse, cut anywhere.
    const double half = all.lse == kNothing ? -std::numeric_limits<double>::infinity()
                                            : static_cast<double>(all.lse) - 0.25;
    whole.maximum.set(b, h, i, 0, half);
    whole.log_sum.set(
        b, h, i, 0,
        all.lse == kNothing ? 0.0 : static_cast<double>(all.lse - whole.maximum.at(b, h, i, 0)));
    for (std::int64_t d = 0; d < dim; ++d)
      whole.out.set(b, h, i, d, static_cast<double>(all.out[static_cast<std::size_t>(d)]));
  });

  const double eps = dtype == kF64 ? 1e-9 : 3e-6 * (1 + static_cast<double>(scale));
  for (std::size_t n = 0; n < parts.size(); ++n) {
    Tensor out(dtype, {2, 2, 3, dim}, Lie::kPadded), lse(dtype, {2, 2, 3, 1});
    const Status status = merge_backward(parts[n].state(), whole.state(), d_out.view(),
                                         with_lse ? d_lse.view() : TensorView{},
                                         {out.mutable_view(), lse.mutable_view()});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(out.gaps_untouched());
    for_each_index({2, 2, 3, 1}, [&](auto b, auto h, auto i, auto) {
      const auto loss = [&](const std::vector<Part>& row) {
        const Part all = merged(row);
        long double sum = with_lse && all.lse != kNothing ? all.lse * d_lse.at(b, h, i, 0) : 0;
        for (std::int64_t d = 0; d < dim; ++d)
          sum += all.out[static_cast<std::size_t>(d)] * d_out.at(b, h, i, d);
        return sum;
      };
      const auto slope = [&](auto change) {
        std::vector<Part> up = parts_at(b, h, i), down = up;
        change(up[n], 1e-5L);
        change(down[n], -1e-5L);
        return static_cast<double>((loss(up) - loss(down)) / 2e-5L);
      };
      const bool nothing = parts_at(b, h, i)[n].lse == kNothing;
      const double expected =
          nothing ? 0 : slope([](Part& part, long double by) { part.lse += by; });
      EXPECT_NEAR(lse.at(b, h, i, 0), expected,
                  eps * (1 + std::abs(expected)) * static_cast<double>(dim));
      for (std::int64_t d = 0; d < dim; ++d) {
        const double wanted = nothing ? 0 : slope([&](Part& part, long double by) {
          part.out[static_cast<std::size_t>(d)] += by;
        });
        EXPECT_NEAR(out.at(b, h, i, d), wanted, eps);
      }
    });
  }
}

TEST(MergeBackward, SlopesOfTheFormula) {
  for (const DType dtype : {kF32, kF64}) {
    for (const std::int64_t dim : {1, 5, 64}) {
      for (const int count : {1, 2, 5}) {
        for (const long double scale : {1.0L, 10.0L})
          check(dtype, dim, count, scale, (dim + count) % 2 == 0);
      }
    }
  }
}

TEST(MergeBackward, ScoresNearTheLargestFloatKeepTheirShares) {
  // Four keys and twelve at finfo.min: one lse would lose log 4 and log 12.
  const double lowest = std::numeric_limits<float>::lowest();
  Owned four(kF32, 1, Lie::kBhsd), sixteen(kF32, 1, Lie::kBhsd);
  Tensor d_out(kF32, {2, 2, 3, 1}), out(kF32, {2, 2, 3, 1}), lse(kF32, {2, 2, 3, 1});
  four.out.fill(1), four.maximum.fill(lowest), four.log_sum.fill(std::log(4.0));
  sixteen.out.fill(4), sixteen.maximum.fill(lowest), sixteen.log_sum.fill(std::log(16.0));
  d_out.fill(2);
  ASSERT_TRUE(merge_backward(four.state(), sixteen.state(), d_out.view(), {},
                             {out.mutable_view(), lse.mutable_view()})
                  .ok());
  EXPECT_NEAR(out.at(1, 1, 2, 0), 0.25 * 2, 1e-6);
  EXPECT_NEAR(lse.at(1, 1, 2, 0), 0.25 * 2 * (1 - 4), 1e-6);
}

TEST(MergeBackward, EitherGradientAlone) {
  Owned part(kF64, 3, Lie::kBhsd), whole(kF64, 3, Lie::kBhsd);
  for (Owned* state : {&part, &whole})
    state->out.fill(1), state->maximum.fill(2), state->log_sum.fill(0.5);
  Tensor d_out(kF64, {2, 2, 3, 3}), d_lse(kF64, {2, 2, 3, 1}), out(kF64, {2, 2, 3, 3}),
      lse(kF64, {2, 2, 3, 1});
  d_out.fill(3), d_lse.fill(5);
  ASSERT_TRUE(merge_backward(part.state(), whole.state(), d_out.view(), d_lse.view(),
                             {out.mutable_view(), {}})
                  .ok());
  ASSERT_TRUE(merge_backward(part.state(), whole.state(), d_out.view(), d_lse.view(),
                             {{}, lse.mutable_view()})
                  .ok());
  EXPECT_EQ(out.at(0, 1, 2, 1), 3);
  EXPECT_EQ(lse.at(0, 1, 2, 0), 5);
}

TEST(MergeBackward, MisfitsAreRefused) {
  Owned part(kF32, 3, Lie::kBhsd), whole(kF32, 3, Lie::kBhsd), wide(kF32, 4, Lie::kBhsd);
  Tensor d_out(kF32, {2, 2, 3, 3}), double_out(kF64, {2, 2, 3, 3}), gradient(kF32, {2, 2, 3, 3});
  const auto message = [&](Owned& of, const Tensor& arriving, const StateGradients& gradients) {
    return merge_backward(of.state(), whole.state(), arriving.view(), {}, gradients).message();
  };
  EXPECT_EQ(message(wide, d_out, {gradient.mutable_view(), {}}),
            "part.out: shape (2, 2, 3, 4); expected (2, 2, 3, 3), as whole.out");
  EXPECT_EQ(message(part, double_out, {gradient.mutable_view(), {}}),
            "d_out: dtype float64; expected float32, as whole.out");
  EXPECT_EQ(message(part, d_out, {{}, gradient.mutable_view()}),
            "gradients.d_lse: shape (2, 2, 3, 3); expected (2, 2, 3, 1), as whole.log_sum");
}

}  // namespace
}  // namespace regard::testing
