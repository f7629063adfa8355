// SPDX-License-Identifier: Apache-2.0
// Looking at attention: every answer against the dense matrix of weights that the formulas give,
// and its bits against other ways to ask for it.
#include "regard/map.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/core/support/dense_map.h"
#include "tests/core/support/executors.h"

namespace regard::testing {
namespace {

struct Extent {
  std::int64_t batches, heads, rows, keys;
};

Extent extent(const Problem& p, const MapRegion& r) {
  const auto size = [](std::int64_t begin, std::int64_t end, std::int64_t all) {
    return (end == -1 ? all : end) - begin;
  };
  return {size(r.batch_begin, r.batch_end, p.batch()), size(r.head_begin, r.head_end, p.heads()),
          size(r.row_begin, r.row_end, p.len_q()), size(r.key_begin, r.key_end, p.len_k())};
}

Tensor weights_of(const Problem& p, const MapRegion& region = {}, bool mean = false,
                  const Executor& executor = serial_executor(), Lie lie = Lie::kBhsd) {
  const Extent e = extent(p, region);
  Tensor weights(p.statistics_dtype(), {e.batches, mean ? 1 : e.heads, e.rows, e.keys}, lie);
  const Status status =
      attention_weights(map_inputs(p), p.options(), region, weights.mutable_view(), executor);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(weights.gaps_untouched());
  return weights;
}

std::string off(const Tensor& actual, const Problem& p, const DenseMap& dense,
                const MapRegion& r = {}) {
  return off(actual, map_bar(p), [&](auto b, auto h, auto i, auto j) {
    return dense.at(b + r.batch_begin, dense.shape[1] == 1 ? 0 : h + r.head_begin, i + r.row_begin,
                    j + r.key_begin);
  });
}

Problem plain(DType dtype, const Sizes& sizes = {2, 2, 2, 61, 90, 24, 24}, std::uint64_t seed = 1) {
  Random random(seed);
  return random_problem(random, dtype, sizes);
}

Tensor tensor(DType dtype, const Shape& shape, std::uint64_t seed) {
  Random random(seed);
  Tensor t(dtype, shape);
  t.fill_normal(random);
  return t;
}

// With multipliers above 0: a mean over heads that cancel is not exact relatively.
Extras extras_of(int which, std::uint64_t seed) {
  Random random(seed);
  Extras e = random_extras(random, which, kF32, 2, 4, 61, 90);
  Tensor& m = e.multiplier;
  if (m.given())
    for_each_index(m.shape(), [&](auto b, auto h, auto i, auto j) {
      m.set(b, h, i, j, std::abs(m.at(b, h, i, j)));
    });
  return e;
}

struct Named {
  const char* name;
  Problem problem;
};

// Every score, mask and modifier, alone and together.
std::vector<Named> every_kind(DType dtype) {
  const Sizes sizes{2, 2, 2, 61, 90, 24, 24};
  std::vector<Named> all;
  const auto add = [&](const char* name) -> Problem& {
    return all.emplace_back(Named{name, plain(dtype, sizes, all.size())}).problem;
  };
  add("plain");
  add("causal").rule = see_causal();
  add("window").rule = see_window(20, 3);
  add("lengths").rule = see_lengths({40, 0});
  add("documents").rule = see_documents({0, 7, 30, 61}, {0, 33, 34, 90}, see_causal());
  add("dilated by head").rule = see_dilated(4, 4, {1, 2, 3, 5});
  add("global tokens").rule = see_window(5, 5) | see_global_tokens({{0, 44}});
  add("softcap").softcap = 1.5;
  add("bias").biases.push_back({tensor(kF32, {1, 4, 61, 90}, 5), false});
  const char* const names[kExtras] = {"sinks",      "gaussian", "relative bias", "temperature",
                                      "multiplier", "alibi",    "dropout",       "function"};
  for (int extra = 0; extra < kExtras; ++extra)
    add(names[extra]).extras = extras_of(1 << extra, static_cast<std::uint64_t>(extra));
  add("additive").score_v = tensor(dtype, {1, 1, 1, 24}, 11);
  Problem& whole = add("all together");
  whole.score_v = tensor(dtype, {1, 4, 1, 24}, 12);
  whole.rule = see_causal() & see_window(50, 0);
  whole.softcap = 5;
  whole.biases.push_back({tensor(kF32, {2, 1, 1, 90}, 13), true});
  whole.extras = extras_of(kAllExtras, 14);
  return all;
}

class Map : public ::testing::TestWithParam<DType> {};

TEST_P(Map, WeightsAreThoseOfTheFormula) {
  for (const Named& one : every_kind(GetParam())) {
    const DenseMap dense(one.problem);
    EXPECT_EQ(off(weights_of(one.problem), one.problem, dense), "") << one.name;
    EXPECT_EQ(off(weights_of(one.problem, {}, true), one.problem, dense.mean(0, 4)), "")
        << one.name << ", mean over heads";
  }
}

TEST_P(Map, ARegionHasTheBitsOfTheWhole) {
  for (const Named& one : every_kind(GetParam())) {
    const Tensor whole = weights_of(one.problem);
    for (const MapRegion& r :
         {MapRegion{0, -1, 0, -1, 17, 40, 0, -1}, MapRegion{1, 2, 1, 3, 30, 31, 5, 77},
          MapRegion{0, 1, 3, 4, 0, -1, 64, 66}, MapRegion{0, -1, 2, 2, 0, -1, 0, -1},
          MapRegion{0, -1, 0, -1, 9, 9, 0, -1}}) {
      const Extent e = extent(one.problem, r);
      const Tensor part = weights_of(one.problem, r, false, serial_executor(), Lie::kStrange);
      const Tensor same = whole.slice(0, r.batch_begin, e.batches)
                              .slice(1, r.head_begin, e.heads)
                              .slice(2, r.row_begin, e.rows)
                              .slice(3, r.key_begin, e.keys);
      if (part.count() > 0) {
        EXPECT_TRUE(same_bits(part, same)) << one.name;
      }
    }
  }
}

// A row adds up to 1 however long it is and wherever its maximum lies.
TEST_P(Map, RowsAddUpToOne) {
  Problem p = plain(GetParam(), {1, 1, 1, 20, 3000, 16, 16});
  for_each_index({1, 1, 3000, 1}, [&](auto, auto, auto j, auto) {
    p.k.set(0, 0, j, 0, static_cast<double>(j) / 100);
  });
  for (const bool steep : {false, true}) {
    if (steep) p.scale = 4;
    const Tensor weights = weights_of(p);
    for (std::int64_t i = 0; i < 20; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < 3000; ++j) sum += weights.at(0, 0, i, j);
      EXPECT_NEAR(sum, 1, GetParam() == kF64 ? 1e-12 : 1e-5) << i;
    }
  }
}

TEST_P(Map, StatisticsOfAForwardPassGiveTheSame) {
  for (const Named& one : every_kind(GetParam())) {
    const Problem& p = one.problem;
    const Shape rows{p.batch(), p.heads(), p.len_q(), 1};
    Tensor out(p.statistics_dtype(), {rows[0], rows[1], rows[2], p.dim_v()}),
        maximum(p.statistics_dtype(), rows, Lie::kStrange), log_sum(p.statistics_dtype(), rows);
    Tensor lse(p.statistics_dtype(), rows), zeros(p.statistics_dtype(), rows);
    zeros.fill(0);
    const Status status = forward(
        {p.q.view(), p.k.view(), p.v.view()}, p.options(),
        {out.mutable_view(), maximum.mutable_view(), log_sum.mutable_view(), lse.mutable_view()});
    ASSERT_TRUE(status.ok()) << status.message();
    Tensor weights(p.statistics_dtype(), {rows[0], rows[1], rows[2], p.len_k()});
    MapInputs inputs = map_inputs(p);
    inputs.maximum = maximum.view(), inputs.log_sum = log_sum.view();
    ASSERT_TRUE(attention_weights(inputs, p.options(), {}, weights.mutable_view()).ok());
    // Not bit by bit: where a mask is cheaper in another order of rows, forward() adds its sums in
    // that order.
    const std::vector<double> expected = weights_of(p).values(), found = weights.values();
    for (std::size_t n = 0; n < expected.size(); ++n) {
      const double bar = 16 * eps(p.statistics_dtype()) * std::abs(expected[n]);
      if (!(std::abs(found[n] - expected[n]) <= bar)) {
        ADD_FAILURE() << one.name << ", element " << n << ": " << found[n] << " against "
                      << expected[n];
        break;
      }
    }
    inputs.maximum = lse.view(), inputs.log_sum = zeros.view();
    ASSERT_TRUE(attention_weights(inputs, p.options(), {}, weights.mutable_view()).ok());
    EXPECT_EQ(off(weights, p, DenseMap(p)), "") << one.name << ", from lse";
  }
}

TEST_P(Map, NanShowsWhereItIsAttendedToAndNowhereElse) {
  Problem p = plain(GetParam(), {1, 1, 1, 40, 70, 8, 8});
  p.rule = see_causal();
  p.k.set(0, 0, 50, 3, std::numeric_limits<double>::quiet_NaN());
  const Tensor weights = weights_of(p);
  for_each_index(weights.shape(), [&](auto, auto, auto i, auto j) {
    // Row 20 is the first that sees key 50.
    const double weight = weights.at(0, 0, i, j);
    if (j > i + 30) {
      EXPECT_EQ(weight, 0) << i << " " << j;
    } else {
      EXPECT_EQ(std::isnan(weight), i >= 20) << i << " " << j;
    }
  });
}

TEST(MapErrors, NameTheArgument) {
  const Problem p = plain(kF32);
  Tensor weights(kF32, {2, 4, 61, 90}), narrow(kF32, {2, 4, 61, 89}), wrong(kF64, {2, 4, 61, 90}),
      statistic(kF32, {2, 4, 61, 1});
  const auto message = [&](const MapInputs& inputs, const MapRegion& region, Tensor& out) {
    return attention_weights(inputs, p.options(), region, out.mutable_view()).message();
  };
  EXPECT_EQ(message(map_inputs(p), {}, narrow),
            "weights: shape (2, 4, 61, 89); expected (2, 4, 61, 90), (batches, heads, rows, keys) "
            "of the region, or with 1 head for the "
            "mean over heads");
  EXPECT_EQ(message(map_inputs(p), {}, wrong), "weights: dtype float64; expected float32");
  EXPECT_EQ(message(map_inputs(p), {0, -1, 0, -1, 5, 62, 0, -1}, weights),
            "region: rows [5, 62); expected a range within [0, 61)");
  EXPECT_EQ(message(map_inputs(p), {0, -1, 0, -1, 0, -1, 7, 6}, weights),
            "region: keys [7, 6); expected a range within [0, 90)");
  EXPECT_EQ(message({p.q.view(), p.k.view(), statistic.view(), {}}, {}, weights),
            "log_sum: not given; maximum is, and the two belong together");
  EXPECT_EQ(message({p.q.view(), p.k.view(), statistic.view(), weights.view()}, {}, weights),
            "log_sum: shape (2, 4, 61, 90); expected (2, 4, 61, 1), (batch, heads, len_q) of query "
            "and 1");
  EXPECT_EQ(message({weights.view(), p.k.view(), {}, {}}, {}, weights),
            "key: shape (2, 2, 90, 24) has dim 24; query has 90");
}

INSTANTIATE_TEST_SUITE_P(DTypes, Map, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
