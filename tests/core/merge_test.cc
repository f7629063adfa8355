// SPDX-License-Identifier: Apache-2.0
// Merging states: cut anywhere, in any order, parts come to what the whole is.
#include "regard/state.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace regard {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One row's attention over some keys, from the formula in long double.
struct Row {
  std::vector<double> out;
  double maximum = -kInfinity, log_sum = 0;
};

// values[key * dim + d]
Row attend(const std::vector<double>& scores, const std::vector<double>& values,
           const std::vector<std::size_t>& keys, std::size_t dim) {
  Row row;
  row.out.assign(dim, 0);
  for (const std::size_t key : keys) row.maximum = std::max(row.maximum, scores[key]);
  if (row.maximum == -kInfinity) return row;
  long double sum = 0;
  std::vector<long double> sums(dim);
  for (const std::size_t key : keys) {
    const long double weight = std::exp(static_cast<long double>(scores[key]) - row.maximum);
    sum += weight;
    for (std::size_t d = 0; d < dim; ++d) sums[d] += weight * values[key * dim + d];
  }
  row.log_sum = static_cast<double>(std::log(sum));
  for (std::size_t d = 0; d < dim; ++d) row.out[d] = static_cast<double>(sums[d] / sum);
  return row;
}

// A state of batch 2, heads 3 and any rows, in memory of its own, rows apart from each other.
template <typename T>
struct Owned {
  std::int64_t length, dim;
  std::vector<T> out, maximum, log_sum;

  Owned(std::int64_t length, std::int64_t dim)
      : length(length),
        dim(dim),
        out(static_cast<std::size_t>(6 * length * (dim + 2)), T(77)),
        maximum(static_cast<std::size_t>(6 * length), T(77)),
        log_sum(maximum) {}

  // (batch, seq, heads, dim) with two elements of slack after each row.
  State state() {
    constexpr DType dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32;
    const std::int64_t row = dim + 2;
    return {{out.data(), dtype, {2, 3, length, dim}, {3 * length * row, row, 3 * row, 1}},
            MutableTensorView::bshd(maximum.data(), dtype, 2, 3, length, 1),
            MutableTensorView::bhsd(log_sum.data(), dtype, 2, 3, length, 1)};
  }
  T* out_row(std::int64_t b, std::int64_t h, std::int64_t i) {
    return &out[static_cast<std::size_t>(((b * length + i) * 3 + h) * (dim + 2))];
  }
  T& maximum_at(std::int64_t b, std::int64_t h, std::int64_t i) {
    return maximum[static_cast<std::size_t>((b * length + i) * 3 + h)];
  }
  T& log_sum_at(std::int64_t b, std::int64_t h, std::int64_t i) {
    return log_sum[static_cast<std::size_t>((b * 3 + h) * length + i)];
  }

  void set(std::int64_t b, std::int64_t h, std::int64_t i, const Row& row) {
    for (std::size_t d = 0; d < row.out.size(); ++d)
      out_row(b, h, i)[d] = static_cast<T>(row.out[d]);
    maximum_at(b, h, i) = static_cast<T>(row.maximum);
    log_sum_at(b, h, i) = static_cast<T>(row.log_sum);
  }
};

template <typename T>
void check_random_cuts() {
  const auto between = [](int low, int high) {
    return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high + 1));
  };
  const int keys = between(1, 60), parts = between(1, 6), length = between(1, 3),
            seed = between(0, 1 << 20), spread = between(0, 3);
  const auto dim = static_cast<std::size_t>(between(1, 20));
  std::mt19937_64 random(static_cast<unsigned>(seed));
  std::normal_distribution<double> normal;
  const double scale = std::pow(30.0, spread);

  std::vector<Owned<T>> states(static_cast<std::size_t>(parts),
                               Owned<T>(length, static_cast<std::int64_t>(dim)));
  std::vector<Row> whole;
  for (std::int64_t row = 0; row < 6 * length; ++row) {
    std::vector<double> scores(static_cast<std::size_t>(keys)), values(scores.size() * dim);
    // Numbers of T to begin with, so that the oracle and the states speak of the same ones. Some
    // are masked.
    for (double& score : scores)
      score = random() % 5 == 0 ? -kInfinity : static_cast<T>(normal(random) * scale);
    for (double& value : values) value = normal(random);
    std::vector<std::size_t> all(scores.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    whole.push_back(attend(scores, values, all, dim));
    std::vector<std::vector<std::size_t>> cut(states.size());
    for (const std::size_t key : all) cut[random() % cut.size()].push_back(key);
    for (std::size_t part = 0; part < states.size(); ++part) {
      states[part].set(row / (3 * length), row / length % 3, row % length,
                       attend(scores, values, cut[part], dim));
    }
  }
  for (std::size_t part = 1; part < states.size(); ++part) {
    const Status status = merge(states[part].state(), states[0].state());
    if (!status.ok()) RC_FAIL(status.message());
  }

  // A few roundings of outputs and of log_sum for each merge; the values are about 1.
  const double bound = 8 * parts * std::numeric_limits<T>::epsilon();
  Owned<T>& merged = states[0];
  for (std::int64_t row = 0; row < 6 * length; ++row) {
    const std::int64_t b = row / (3 * length), h = row / length % 3, i = row % length;
    const Row& expected = whole[static_cast<std::size_t>(row)];
    RC_ASSERT(merged.maximum_at(b, h, i) == static_cast<T>(expected.maximum));
    RC_ASSERT(std::abs(merged.log_sum_at(b, h, i) - expected.log_sum) <=
              bound * (1 + std::abs(expected.log_sum)));
    for (std::size_t d = 0; d < dim; ++d)
      RC_ASSERT(std::abs(merged.out_row(b, h, i)[d] - expected.out[d]) <= bound * 4);
    for (std::size_t slack = dim; slack < dim + 2; ++slack)
      RC_ASSERT(merged.out_row(b, h, i)[slack] == T(77));
  }
}

RC_GTEST_PROP(MergeProperty, RandomCutsInFloat32, ()) { check_random_cuts<float>(); }
RC_GTEST_PROP(MergeProperty, RandomCutsInFloat64, ()) { check_random_cuts<double>(); }

// One row (of six) with one output, for cases by hand.
template <typename T>
Row merged(const Row& into, const Row& other) {
  Owned<T> to(1, 1), from(1, 1);
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t h = 0; h < 3; ++h) {
      to.set(b, h, 0, into);
      from.set(b, h, 0, other);
    }
  }
  const Status status = merge(from.state(), to.state());
  EXPECT_TRUE(status.ok()) << status.message();
  return {{to.out_row(1, 2, 0)[0]}, to.maximum_at(1, 2, 0), to.log_sum_at(1, 2, 0)};
}

TEST(Merge, RowsThatSawNothingChangeNothing) {
  const Row nothing{{0.0}, -kInfinity, 0}, some{{0.1f}, 3.7f, 1.3f};
  for (const Row& row : {merged<float>(some, nothing), merged<float>(nothing, some)}) {
    EXPECT_EQ(row.out[0], 0.1f);
    EXPECT_EQ(row.maximum, 3.7f);
    EXPECT_EQ(row.log_sum, 1.3f);
  }
  const Row both = merged<float>(nothing, nothing);
  EXPECT_EQ(both.out[0], 0);
  EXPECT_EQ(both.maximum, -kInfinity);
  EXPECT_EQ(both.log_sum, 0);
}

TEST(Merge, UnusedMemoryOfARowThatSawNothingIsNotRead) {
  const Row nothing{{NAN}, -kInfinity, NAN}, some{{0.1f}, 3.7f, 1.3f};
  EXPECT_EQ(merged<float>(nothing, some).out[0], 0.1f);
  EXPECT_EQ(merged<float>(some, nothing).log_sum, 1.3f);
  EXPECT_EQ(merged<float>(nothing, nothing).out[0], 0);
  EXPECT_EQ(merged<float>(nothing, nothing).log_sum, 0);
}

TEST(Merge, ScoresNearTheLargestFloatKeepTheirSums) {
  // Four keys and twelve at finfo.min: one lse would lose log 4 and log 12.
  const double lowest = std::numeric_limits<float>::lowest();
  const Row row = merged<float>({{1.0}, lowest, std::log(4.0)}, {{5.0}, lowest, std::log(12.0)});
  EXPECT_NEAR(row.out[0], 4.0, 1e-6);
  EXPECT_EQ(row.maximum, lowest);
  EXPECT_NEAR(row.log_sum, std::log(16.0), 1e-6);
  // Far apart: the larger stays, to the bit.
  const Row far = merged<float>({{1.0}, lowest, 1.0}, {{5.0}, 3e38, 0.5});
  EXPECT_EQ(far.out[0], 5.0);
  EXPECT_EQ(far.maximum, 3e38f);
  EXPECT_EQ(far.log_sum, 0.5);
}

TEST(Merge, NaNComesOut) {
  const Row some{{0.1}, 3.7, 1.3};
  EXPECT_TRUE(std::isnan(merged<float>(some, {{NAN}, 1.0, 0.0}).out[0]));
  for (const Row& row :
       {merged<float>(some, {{NAN}, NAN, NAN}), merged<float>({{NAN}, NAN, NAN}, some)}) {
    EXPECT_TRUE(std::isnan(row.out[0]));
    EXPECT_TRUE(std::isnan(row.maximum + row.log_sum));
  }
}

TEST(Merge, MisfitsAreRefused) {
  Owned<float> narrow(2, 3), wide(2, 4);
  Owned<double> exact(2, 3);
  EXPECT_EQ(merge(wide.state(), narrow.state()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(merge(exact.state(), narrow.state()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(narrow.out[0], 77.0f);
}

TEST(Merge, NoRows) {
  Owned<float> a(0, 3), b(0, 3);
  EXPECT_TRUE(merge(a.state(), b.state()).ok());
}

}  // namespace
}  // namespace regard
