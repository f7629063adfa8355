// The library's scalar reference against the tests' own oracle, which knows neither masks nor plans.
#include "core/reference/reference.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "core/reference/element.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Everything that the reference gives for a problem. Outputs lie in memory in `lie`; statistics and gradients are of the widest dtype
// that the inputs' allows, out of `out_dtype`.
Results refer(const Problem& problem, DType out_dtype, Lie lie = Lie::kBhsd) {
  const DType wide = problem.statistics_dtype();
  const std::int64_t batch = problem.batch(), heads = problem.heads(), len_q = problem.len_q();
  Results r;
  r.out = Tensor(out_dtype, {batch, heads, len_q, problem.dim_v()}, lie);
  for (Tensor* statistic : {&r.maximum, &r.log_sum, &r.lse}) *statistic = Tensor(wide, {batch, heads, len_q, 1}, lie);
  plan::Layout layout;
  const Options options = problem.options();
  const Status status = layout.build(options.mask, {batch, heads, len_q, problem.len_k()});
  if (!status.ok()) {
    r.error = status.message();
    return r;
  }
  reference::forward({problem.q.view(), problem.k.view(), problem.v.view()}, options,
                     {r.out.mutable_view(), r.maximum.mutable_view(), r.log_sum.mutable_view(), r.lse.mutable_view()}, layout);
  if (problem.d_out.given()) {
    r.dq = Tensor(wide, problem.q.shape(), lie);
    r.dk = Tensor(wide, problem.k.shape(), lie);
    r.dv = Tensor(wide, problem.v.shape(), lie);
    Gradients gradients{r.dq.mutable_view(), r.dk.mutable_view(), r.dv.mutable_view(), {}};
    for (const BiasTensor& bias : problem.biases) r.d_bias.emplace_back(wide, bias.values.shape(), lie);
    for (Tensor& d_bias : r.d_bias) gradients.d_bias.push_back(d_bias.mutable_view());
    reference::backward({problem.q.view(), problem.k.view(), problem.v.view(), r.out.view(), r.maximum.view(), r.log_sum.view(), problem.d_out.view(),
                         problem.d_lse.optional_view()},
                        options, gradients, layout);
  }
  return r;
}

// The first element that is off by more than `bound`; NaN and infinities must be the same.
std::string difference(const std::string& name, const std::vector<double>& found, const std::vector<double>& expected, double bound) {
  if (found.size() != expected.size()) return name + " has " + std::to_string(found.size()) + " elements, expected " + std::to_string(expected.size());
  for (std::size_t n = 0; n < found.size(); ++n) {
    const bool same = found[n] == expected[n] || (std::isnan(found[n]) && std::isnan(expected[n])) || std::abs(found[n] - expected[n]) <= bound;
    if (!same) return name + "[" + std::to_string(n) + "] is " + std::to_string(found[n]) + ", expected " + std::to_string(expected[n]);
  }
  return "";
}

// Empty where the reference agrees with the oracle: within some roundings of float64, or of float32 where that is what it writes.
std::string disagreement(const Problem& problem, Lie lie = Lie::kBhsd) {
  const DType wide = problem.statistics_dtype();
  const Results found = refer(problem, wide, lie);
  if (!found.error.empty()) return found.error;
  const DenseResults expected = attend(problem.dense(), Arithmetic::kLongDouble);
  const double bound = 200 * eps(wide);
  std::string what = difference("out", found.out.values(), expected.out, bound * 4);
  if (what.empty()) what = difference("maximum", found.maximum.values(), expected.maximum, bound * 8);
  if (what.empty()) what = difference("lse", found.lse.values(), expected.lse, bound * 8);
  const std::vector<double> maximum = found.maximum.values(), log_sum = found.log_sum.values(), lse = found.lse.values();
  for (std::size_t n = 0; what.empty() && n < lse.size(); ++n) {
    if (maximum[n] == -kInfinity ? log_sum[n] != 0 : std::abs(maximum[n] + log_sum[n] - lse[n]) > bound * 8) what = "log_sum of row " + std::to_string(n);
  }
  for (const Tensor* tensor : {&found.out, &found.maximum, &found.log_sum, &found.lse}) {
    if (what.empty() && !tensor->gaps_untouched()) what = "a write outside an output's elements";
  }
  if (!problem.d_out.given() || !what.empty()) return what;
  if (found.out.count() == 0) {  // the oracle takes this for no backward pass; without rows all gradients are 0
    for (const Tensor* tensor : {&found.dq, &found.dk, &found.dv}) {
      if (what.empty()) what = difference("a gradient", tensor->values(), std::vector<double>(static_cast<std::size_t>(tensor->count())), 0);
    }
    return what;
  }

  what = difference("dq", found.dq.values(), expected.dq, bound * (1 + expected.dq_terms));
  if (what.empty()) what = difference("dk", found.dk.values(), expected.dk, bound * (1 + expected.dk_terms));
  if (what.empty()) what = difference("dv", found.dv.values(), expected.dv, bound * (1 + expected.dv_terms));
  for (std::size_t n = 0; what.empty() && n < problem.biases.size(); ++n) {
    // The sum of the dense gradient over the axes along which this bias is broadcast. Where nothing bends, before and after are one.
    const bool before = problem.biases[n].before_softcap && problem.softcap != 0;
    const std::vector<double>& dense = before ? expected.d_bias_before : expected.d_bias_after;
    Tensor sum(kF64, found.d_bias[n].shape());
    sum.fill(0);
    std::size_t at = 0;
    double terms = 1;
    for_each_index({problem.batch(), problem.heads(), problem.len_q(), problem.len_k()}, [&](auto b, auto h, auto i, auto j) {
      const auto along = [&](std::size_t axis, std::int64_t index) { return sum.shape()[axis] == 1 ? 0 : index; };
      terms += expected.d_bias_terms[at];
      sum.set(along(0, b), along(1, h), along(2, i), along(3, j), sum.at(along(0, b), along(1, h), along(2, i), along(3, j)) + dense[at++]);
    });
    what = difference("d_bias[" + std::to_string(n) + "]", found.d_bias[n].values(), sum.values(), bound * terms);
  }
  return what;
}

Problem small(DType dtype = kF64, std::uint64_t seed = 1) {
  Random random(seed);
  Problem problem = random_problem(random, dtype, {.batch = 2, .heads_kv = 2, .group = 2, .len_q = 5, .len_k = 9, .dim = 6, .dim_v = 3});
  problem.d_lse = Tensor(problem.statistics_dtype(), {2, 4, 5, 1});
  problem.d_lse.fill_normal(random);
  return problem;
}

BiasTensor random_bias(const Shape& shape, DType dtype, bool before_softcap, std::uint64_t seed) {
  Random random(seed);
  BiasTensor bias{Tensor(dtype, shape), before_softcap};
  bias.values.fill_normal(random);
  return bias;
}

TEST(Reference, Plain) {
  for (const DType dtype : {kF64, kF32, kBf16, kF16}) EXPECT_EQ(disagreement(small(dtype)), "") << name_of(dtype);
}

TEST(Reference, EveryStage) {
  Problem problem = small();
  problem.scale = -0.7;
  problem.softcap = 1.5;
  problem.biases = {random_bias({2, 4, 5, 9}, kF32, false, 2), random_bias({1, 4, 1, 9}, kF64, true, 3), random_bias({1, 1, 1, 1}, kBf16, false, 4)};
  EXPECT_EQ(disagreement(problem), "");
}

TEST(Reference, BiasOfEveryBroadcastShape) {
  for (int axes = 0; axes < 16; ++axes) {
    Problem problem = small();
    problem.softcap = 2;
    const Shape shape{axes & 1 ? 1 : 2, axes & 2 ? 1 : 4, axes & 4 ? 1 : 5, axes & 8 ? 1 : 9};
    problem.biases = {random_bias(shape, kF64, axes % 3 == 0, static_cast<std::uint64_t>(axes))};
    EXPECT_EQ(disagreement(problem), "") << axes;
  }
}

TEST(Reference, Masks) {
  for (const Rule& rule : {see_causal(), see_causal(0), see_causal(-3), see_window(1, 1), see_lengths({0, 6}), see_causal() & see_lengths({9, 2}),
                           see_documents({0, 2, 4}, {0, 5, 7}, see_causal()), ~see_causal(2), see_same_document({0, 3, 5}, {0, 3, 9}) | see_window(0, 0)}) {
    Problem problem = small();
    problem.rule = rule;
    problem.biases = {random_bias({1, 4, 5, 9}, kF64, false, 2)};
    EXPECT_EQ(disagreement(problem), "");
  }
}

TEST(Reference, OutputsLieAnywhere) {
  for (int lie = 0; lie < kOutputLies; ++lie) {
    Problem problem = small();
    problem.biases = {random_bias({1, 4, 5, 9}, kF64, false, 2)};
    EXPECT_EQ(disagreement(problem, static_cast<Lie>(lie)), "") << lie;
  }
}

TEST(Reference, RoundsToTheOutputsDType) {
  for (const DType dtype : {kBf16, kF16}) {
    const Problem problem = small(dtype);
    const std::vector<double> exact = attend(problem.dense(), Arithmetic::kLongDouble).out, found = refer(problem, dtype).out.values();
    for (std::size_t n = 0; n < exact.size(); ++n) EXPECT_EQ(found[n], round_to(dtype, exact[n])) << n;
  }
}

TEST(Reference, HiddenRowsGetNothing) {
  Problem problem = small();
  problem.rule = see_causal(-3);  // rows 0, 1 and 2 see no key
  const Results found = refer(problem, kF64);
  for_each_index({2, 4, 3, 1}, [&](auto b, auto h, auto i, auto) {
    EXPECT_EQ(found.lse.at(b, h, i, 0), -kInfinity);
    EXPECT_EQ(found.maximum.at(b, h, i, 0), -kInfinity);
    EXPECT_EQ(found.log_sum.at(b, h, i, 0), 0);
    for (int d = 0; d < 3; ++d) EXPECT_EQ(found.out.at(b, h, i, d), 0);
    for (int d = 0; d < 6; ++d) EXPECT_EQ(found.dq.at(b, h, i, d), 0);
  });
}

TEST(Reference, ABiasOfMinusInfinityHides) {
  Problem problem = small();
  problem.biases = {random_bias({1, 1, 5, 9}, kF64, false, 2)};
  for (int j = 0; j < 9; ++j) problem.biases[0].values.set(0, 0, 1, j, -kInfinity);
  problem.biases[0].values.set(0, 0, 2, 4, -kInfinity);
  EXPECT_EQ(disagreement(problem), "");
  // Before a softcap too, which would make a finite number of it.
  problem.softcap = 2;
  problem.biases[0].before_softcap = true;
  const Results found = refer(problem, kF64);
  EXPECT_EQ(found.lse.at(0, 0, 1, 0), -kInfinity);
  EXPECT_EQ(found.d_bias[0].at(0, 0, 2, 4), 0);
  EXPECT_NE(found.d_bias[0].at(0, 0, 2, 5), 0);
}

TEST(Reference, TheLowestFiniteBiasDoesNotHide) {
  Problem problem = small(kF32);
  problem.d_out = problem.d_lse = {};
  problem.biases = {random_bias({1, 1, 5, 9}, kF32, false, 2)};
  problem.biases[0].values.fill(std::numeric_limits<float>::lowest());
  // Scores vanish beside it: the row is the mean of v.
  problem.q.fill(0);
  const Results found = refer(problem, kF32);
  for_each_index({2, 4, 5, 3}, [&](auto b, auto h, auto i, auto d) {
    double mean = 0;
    for (int j = 0; j < 9; ++j) mean += problem.v.at(b, h / 2, j, d) / 9;
    EXPECT_NEAR(found.out.at(b, h, i, d), mean, 1e-6);
    EXPECT_NEAR(found.log_sum.at(b, h, i, 0), std::log(9.0), 1e-6);
  });
}

TEST(Reference, NaNComesOutWhereItIsSeenAndNowhereElse) {
  Problem problem = small();
  problem.d_out = problem.d_lse = {};
  problem.rule = see_window(0, 0, 0);  // row i sees key i alone
  problem.k.set(0, 0, 1, 0, NAN);
  problem.v.set(0, 0, 2, 0, NAN);
  problem.v.set(0, 0, 8, 0, NAN);  // seen by none
  const Results found = refer(problem, kF64);
  for_each_index({2, 4, 5, 3}, [&](auto b, auto h, auto i, auto d) {
    const bool seen = b == 0 && h < 2 && (i == 1 || (i == 2 && d == 0));
    EXPECT_EQ(std::isnan(found.out.at(b, h, i, d)), seen) << b << h << i << d;
  });
  EXPECT_TRUE(std::isnan(found.maximum.at(0, 0, 1, 0)));
  EXPECT_TRUE(std::isnan(found.lse.at(0, 0, 1, 0)));
  EXPECT_FALSE(std::isnan(found.lse.at(0, 0, 2, 0)));
}

TEST(Reference, NoKeysOrNoRows) {
  Random random(1);
  for (const Sizes& sizes : {Sizes{.len_q = 3, .len_k = 0}, {.len_q = 0, .len_k = 3}, {.batch = 0, .len_q = 2, .len_k = 2}}) {
    EXPECT_EQ(disagreement(random_problem(random, kF64, sizes)), "");
  }
}

RC_GTEST_PROP(ReferenceProperty, AgreesWithTheOracle, ()) {
  const auto between = [](int low, int high) { return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high + 1)); };
  Sizes sizes;
  sizes.batch = between(1, 2), sizes.heads_kv = between(1, 2), sizes.group = between(1, 3);
  sizes.len_q = between(0, 20), sizes.len_k = between(0, 80), sizes.dim = between(1, 9), sizes.dim_v = between(1, 9);
  Random random(static_cast<std::uint64_t>(between(0, 1 << 20)));
  Problem problem = random_problem(random, between(0, 1) == 0 ? kF64 : kF32, sizes);
  const std::int64_t heads = sizes.heads_kv * sizes.group;
  const char* const masks[] = {"", "c", "w5:3", "k7", "t3:0", "t4:2", "d5", "c.k9.&", "t1:5.~.w9:0.|", "p3.c", "p8.w4:4.k2.&", "d6.c@-2.|.~"};
  const std::string mask = masks[between(0, static_cast<int>(std::size(masks)) - 1)];
  problem.rule = parse_rule(mask, sizes.batch, heads, sizes.len_q, sizes.len_k);
  if (between(0, 1) == 1) problem.softcap = 1 + between(0, 3);
  for (int n = between(0, 2); n > 0; --n) {
    const int axes = between(0, 15);
    const Shape shape{axes & 1 ? 1 : sizes.batch, axes & 2 ? 1 : heads, axes & 4 ? 1 : sizes.len_q, axes & 8 ? 1 : sizes.len_k};
    problem.biases.push_back(random_bias(shape, kF32, between(0, 1) == 1, static_cast<std::uint64_t>(n)));
  }
  RC_LOG() << "mask \"" << mask << "\", batch " << sizes.batch << ", heads " << heads << " on " << sizes.heads_kv << ", len_q " << sizes.len_q << ", len_k "
           << sizes.len_k << ", dims " << sizes.dim << " and " << sizes.dim_v;
  const std::string what = disagreement(problem);
  if (!what.empty()) RC_FAIL(what);
}

// 16-bit floats, element by element, against the tests' own conversions.
template <typename Format>
void expect_conversions(DType dtype) {
  for (int bits = 0; bits < 1 << 16; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const double value = Format::widen(pattern), expected = load(&pattern, dtype);
    ASSERT_TRUE(value == expected || (std::isnan(value) && std::isnan(expected))) << bits;
    ASSERT_EQ(std::signbit(value), std::isnan(value) ? std::signbit(value) : (bits & 0x8000) != 0);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(Format::widen(Format::round(value))));
      continue;
    }
    ASSERT_EQ(Format::round(value), pattern);
    // Half way to the next, and a little to either side.
    const auto next_pattern = static_cast<std::uint16_t>(bits + 1);
    const double next = load(&next_pattern, dtype);
    if (!std::isfinite(value) || !std::isfinite(next)) continue;
    const double middle = value + (next - value) / 2;
    ASSERT_EQ(Format::round(std::nextafter(middle, value)), pattern);
    ASSERT_EQ(Format::round(middle), bits % 2 == 0 ? pattern : next_pattern) << "the even one of two";
    ASSERT_EQ(Format::round(std::nextafter(middle, next)), next_pattern);
  }
  ASSERT_EQ(Format::widen(Format::round(1e300)), kInfinity);
  ASSERT_EQ(Format::widen(Format::round(largest(dtype) * (1 + eps(dtype) / 8))), largest(dtype));
  ASSERT_EQ(Format::widen(Format::round(largest(dtype) * (1 + eps(dtype)))), kInfinity);
  ASSERT_EQ(Format::round(-1e-300), 0x8000);
}

TEST(ReferenceElement, Float16) { expect_conversions<reference::Float16>(kF16); }
TEST(ReferenceElement, BFloat16) { expect_conversions<reference::BFloat16>(kBf16); }

}  // namespace
}  // namespace regard::testing
