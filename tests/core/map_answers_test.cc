// SPDX-License-Identifier: Apache-2.0
// What is made of attention weights (pictures, the keys that count most, entropies, column sums,
// rollout), against the dense matrix of the formulas.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "regard/map.h"
#include "tests/core/support/dense_map.h"
#include "tests/core/support/executors.h"

namespace regard::testing {
namespace {

constexpr std::int64_t kBatch = 2, kHeads = 4, kRows = 61, kKeys = 90;

Tensor normal(DType dtype, const Shape& shape, std::uint64_t seed) {
  Random random(seed);
  Tensor t(dtype, shape);
  t.fill_normal(random);
  return t;
}

Extras extras_of(int which, std::uint64_t seed) {
  Random random(seed);
  return random_extras(random, which, kF32, kBatch, kHeads, kRows, kKeys);
}

Problem problem(DType dtype, const Rule& rule = see_all(), std::uint64_t seed = 1,
                std::int64_t rows = kRows, std::int64_t keys = kKeys) {
  Random random(seed);
  Problem p = random_problem(random, dtype, {kBatch, 2, 2, rows, keys, 24, 24});
  p.rule = rule;
  return p;
}

// Masks, and what makes rows that do not add up to 1.
std::vector<Problem> several(DType dtype) {
  std::vector<Problem> all{
      problem(dtype), problem(dtype, see_causal(-20), 2),
      problem(dtype, see_window(9, 2) | see_global_tokens({{3}}), 3),
      problem(dtype, see_documents({0, 7, 30, 61}, {0, 33, 34, 90}, see_causal()), 4)};
  // Rows that are taken in another order.
  all.push_back(problem(dtype, see_dilated(6, 4, {3, 3, 2, 2}), 9));
  all.push_back(problem(dtype, see_dilated(-1, 2, {4}) | see_global_tokens({{3, 40, 59}}), 10));
  all.push_back(problem(dtype, see_window(40, 9), 5));
  all.back().extras = extras_of(kSinks | kDropout | kFunction, 6);
  all.push_back(problem(dtype, see_causal(), 7));
  all.back().score_v = normal(dtype, {1, 1, 1, 24}, 8);
  return all;
}

void expect_near(const Tensor& actual, double b, double h, double i, double j, double expected,
                 double bar) {
  const double a = actual.at(static_cast<std::int64_t>(b), static_cast<std::int64_t>(h),
                             static_cast<std::int64_t>(i), static_cast<std::int64_t>(j));
  EXPECT_LE(std::abs(a - expected), bar) << "(" << b << ", " << h << ", " << i << ", " << j
                                         << ") is " << a << ", should be " << expected;
}

class MapAnswers : public ::testing::TestWithParam<DType> {};

TEST_P(MapAnswers, PicturesPoolTheCells) {
  struct Size {
    std::int64_t height, width;
  };
  const MapRegion part{1, 2, 1, 3, 5, 58, 3, 80};
  for (const Problem& p : several(GetParam())) {
    const double relative = map_bar(p);
    const DenseMap all(p);
    for (const bool mean : {false, true}) {
      for (const Size size : {Size{1, 1}, Size{7, 11}, Size{53, 77}}) {
        for (const Pooling pooling : {Pooling::kMax, Pooling::kMean, Pooling::kSum}) {
          const DenseMap dense = mean ? all.mean(1, 3) : all;
          Tensor picture(p.statistics_dtype(), {1, mean ? 1 : 2, size.height, size.width},
                         Lie::kStrange);
          const Status status =
              attention_picture(map_inputs(p), p.options(), part, pooling, picture.mutable_view());
          ASSERT_TRUE(status.ok()) << status.message();
          EXPECT_TRUE(picture.gaps_untouched());
          for (std::int64_t h = 0; h < picture.shape()[1]; ++h) {
            std::vector<double> most(static_cast<std::size_t>(size.height * size.width), 0),
                sums = most, counts = most;
            for (std::int64_t i = 0; i < 53; ++i) {
              for (std::int64_t j = 0; j < 77; ++j) {
                const auto cell = static_cast<std::size_t>(i * size.height / 53 * size.width +
                                                           j * size.width / 77);
                const double weight = dense.at(1, mean ? 0 : h + 1, i + 5, j + 3);
                most[cell] = std::max(most[cell], weight);
                sums[cell] += weight;
                ++counts[cell];
              }
            }
            for (std::size_t cell = 0; cell < most.size(); ++cell) {
              const double expected = pooling == Pooling::kMax   ? most[cell]
                                      : pooling == Pooling::kSum ? sums[cell]
                                                                 : sums[cell] / counts[cell];
              const auto at = static_cast<std::int64_t>(cell);
              expect_near(picture, 0, static_cast<double>(h), static_cast<double>(at / size.width),
                          static_cast<double>(at % size.width), expected,
                          2 * relative * expected + 1e-30);
            }
          }
        }
      }
    }
  }
}

TEST_P(MapAnswers, APictureOfEveryPairIsTheMap) {
  for (const Rule& rule : {see_causal(), see_dilated(5, 5, {3, 3, 2, 2}),
                           see_window(2, 2) | see_global_tokens({{7, 50}})}) {
    const Problem p = problem(GetParam(), rule);
    Tensor picture(p.statistics_dtype(), {kBatch, kHeads, kRows, kKeys}), weights = picture;
    const Results pass = run(p);
    MapInputs inputs = map_inputs(p);
    inputs.maximum = pass.maximum.view(), inputs.log_sum = pass.log_sum.view();
    ASSERT_TRUE(
        attention_picture(inputs, p.options(), {}, Pooling::kMax, picture.mutable_view()).ok());
    ASSERT_TRUE(attention_weights(inputs, p.options(), {}, weights.mutable_view()).ok());
    EXPECT_TRUE(same_bits(picture, weights));
    // Its own statistics a picture makes in the order of rows that is cheapest: other bits, the
    // same weights.
    Tensor alone = picture;
    ASSERT_TRUE(
        attention_picture(map_inputs(p), p.options(), {}, Pooling::kMax, alone.mutable_view())
            .ok());
    for_each_index(alone.shape(), [&](auto b, auto h, auto i, auto j) {
      const double weight = weights.at(b, h, i, j);
      ASSERT_NEAR(alone.at(b, h, i, j), weight, 16 * eps(p.statistics_dtype()) * weight);
    });
  }
}

TEST_P(MapAnswers, TopKeysAreTheLargestWeights) {
  for (const Problem& p : several(GetParam())) {
    const double relative = map_bar(p);
    for (const bool mean : {false, true}) {
      const DenseMap dense = mean ? DenseMap(p).mean(0, kHeads) : DenseMap(p);
      for (const std::int64_t count : {1, 7, 90}) {
        const Shape shape{kBatch, mean ? 1 : kHeads, kRows, count};
        Tensor weights(p.statistics_dtype(), shape, Lie::kPadded), keys(DType::kInt64, shape);
        const Status status = attention_top(map_inputs(p), p.options(), {}, keys.mutable_view(),
                                            weights.mutable_view());
        ASSERT_TRUE(status.ok()) << status.message();
        const auto* places = static_cast<const std::int64_t*>(keys.view().data);
        for_each_index({shape[0], shape[1], shape[2], 1}, [&](auto b, auto h, auto i, auto) {
          std::vector<double> row;
          for (std::int64_t j = 0; j < kKeys; ++j) row.push_back(dense.at(b, h, i, j));
          std::vector<double> sorted = row;
          std::sort(sorted.rbegin(), sorted.rend());
          std::vector<bool> met(kKeys, false);
          for (std::int64_t n = 0; n < count; ++n) {
            const std::int64_t key = places[((b * shape[1] + h) * kRows + i) * count + n];
            const double expected = sorted[static_cast<std::size_t>(n)],
                         bar = 2 * relative * expected + 1e-30;
            expect_near(weights, static_cast<double>(b), static_cast<double>(h),
                        static_cast<double>(i), static_cast<double>(n), expected, bar);
            if (expected == 0) {
              EXPECT_EQ(key, -1);
            } else {
              ASSERT_TRUE(key >= 0 && key < kKeys) << key;
              EXPECT_NEAR(row[static_cast<std::size_t>(key)], expected, bar);
              EXPECT_FALSE(met[static_cast<std::size_t>(key)]);
              met[static_cast<std::size_t>(key)] = true;
            }
          }
        });
      }
    }
  }
}

TEST_P(MapAnswers, OfEqualWeightsTheLowerKeyComesFirst) {
  Problem p = problem(GetParam(), see_causal(0), 1, 40, 40);
  p.k.fill(0);
  Tensor weights(p.statistics_dtype(), {kBatch, kHeads, 40, 5}),
      keys(DType::kInt64, {kBatch, kHeads, 40, 5});
  ASSERT_TRUE(
      attention_top(map_inputs(p), p.options(), {}, keys.mutable_view(), weights.mutable_view())
          .ok());
  const auto* places = static_cast<const std::int64_t*>(keys.view().data);
  for (std::int64_t at = 0; at < keys.count(); ++at)
    EXPECT_EQ(places[at], at % 5 <= at / 5 % 40 ? at % 5 : -1) << at;
}

TEST_P(MapAnswers, EntropyOfEachRow) {
  for (const Problem& p : several(GetParam())) {
    const double relative = map_bar(p);
    for (const bool mean : {false, true}) {
      const DenseMap dense = mean ? DenseMap(p).mean(0, kHeads) : DenseMap(p);
      Tensor entropy(p.statistics_dtype(), {kBatch, mean ? 1 : kHeads, 30, 1}, Lie::kStrange);
      const Status status = attention_entropy(
          map_inputs(p), p.options(), {0, -1, 0, -1, 20, 50, 0, -1}, entropy.mutable_view());
      ASSERT_TRUE(status.ok()) << status.message();
      for_each_index(entropy.shape(), [&](auto b, auto h, auto i, auto) {
        double expected = 0, size = 0;
        for (std::int64_t j = 0; j < kKeys; ++j) {
          const double weight = dense.at(b, h, i + 20, j);
          if (weight > 0)
            expected -= weight * std::log(weight),
                size += weight * (1 + std::abs(std::log(weight)));
        }
        expect_near(entropy, static_cast<double>(b), static_cast<double>(h), static_cast<double>(i),
                    0, expected, relative * size);
      });
    }
  }
}

TEST_P(MapAnswers, ColumnSumsAndVectorsPassedThroughTheMap) {
  const MapRegion part{0, 2, 1, 4, 4, 57, 10, 83};
  for (const Problem& p : several(GetParam())) {
    const double relative = map_bar(p);
    const DenseMap all(p);
    for (const bool mean : {false, true}) {
      const DenseMap dense = mean ? all.mean(1, 4) : all;
      const std::int64_t heads = mean ? 1 : 3;
      Tensor vectors = normal(p.statistics_dtype(), {2, 1, 5, 53}, 9);
      for (std::int64_t i = 0; i < 53; ++i) vectors.set(0, 0, 2, i, i == 17 ? 1 : 0);
      for (const bool ones : {false, true}) {
        Tensor sums(p.statistics_dtype(), {2, heads, ones ? 1 : 5, 73}, Lie::kStrange);
        const Status status =
            attention_column_sums(map_inputs(p), p.options(), part,
                                  ones ? TensorView{} : vectors.view(), sums.mutable_view());
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(sums.gaps_untouched());
        for_each_index(sums.shape(), [&](auto b, auto h, auto v, auto j) {
          double expected = 0, size = 0;
          for (std::int64_t i = 0; i < 53; ++i) {
            const double term =
                (ones ? 1 : vectors.at(b, 0, v, i)) * dense.at(b, mean ? 0 : h + 1, i + 4, j + 10);
            expected += term, size += std::abs(term);
          }
          expect_near(sums, static_cast<double>(b), static_cast<double>(h), static_cast<double>(v),
                      static_cast<double>(j), expected, relative * size + 1e-30);
        });
      }
    }
  }
}

// Vectors may differ by head where the answer has a head for each.
TEST(MapColumnSums, VectorsOfEachHead) {
  const Problem p = problem(kF32);
  const DenseMap dense(p);
  const Tensor vectors = normal(kF32, {kBatch, kHeads, 2, kRows}, 3);
  Tensor sums(kF32, {kBatch, kHeads, 2, kKeys});
  ASSERT_TRUE(
      attention_column_sums(map_inputs(p), p.options(), {}, vectors.view(), sums.mutable_view())
          .ok());
  for_each_index(sums.shape(), [&](auto b, auto h, auto v, auto j) {
    double expected = 0;
    for (std::int64_t i = 0; i < kRows; ++i)
      expected += vectors.at(b, h, v, i) * dense.at(b, h, i, j);
    EXPECT_NEAR(sums.at(b, h, v, j), expected, 1e-5);
  });
}

TEST_P(MapAnswers, RolloutIsTheProductOfTheLayers) {
  constexpr std::int64_t n = 70;
  std::vector<Problem> problems{problem(GetParam(), see_causal(), 1, n, n),
                                problem(GetParam(), see_window(20, 20), 2, n, n),
                                problem(GetParam(), see_all(), 3, n, n)};
  problems[1].extras = extras_of(kSinks, 4);
  const double residual = 0.4;
  std::vector<std::vector<double>> whole(kBatch, std::vector<double>(n * n, 0));
  for (auto& matrix : whole)
    for (std::int64_t i = 0; i < n; ++i) matrix[static_cast<std::size_t>(i * n + i)] = 1;
  double bar = 0;
  std::vector<RolloutLayer> layers;
  for (const Problem& p : problems) {
    layers.push_back({map_inputs(p), p.options(), nullptr});
    bar += map_bar(p);
    const DenseMap mean = DenseMap(p).mean(0, kHeads);
    for (std::int64_t b = 0; b < kBatch; ++b) {
      std::vector<double> next(n * n, 0);
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t k = 0; k < n; ++k) {
          const double a = (i == k ? residual : 0) + (1 - residual) * mean.at(b, 0, i, k);
          for (std::int64_t j = 0; j < n; ++j)
            next[static_cast<std::size_t>(i * n + j)] +=
                a * whole[static_cast<std::size_t>(b)][static_cast<std::size_t>(k * n + j)];
        }
      whole[static_cast<std::size_t>(b)] = next;
    }
  }
  const std::vector<std::int64_t> chosen{0, 33, 69};
  Tensor rows(problems[0].statistics_dtype(), {kBatch, 1, 3, n}, Lie::kStrange);
  for_each_index(rows.shape(), [&](auto b, auto h, auto v, auto i) {
    rows.set(b, h, v, i, i == chosen[static_cast<std::size_t>(v)] ? 1 : 0);
  });
  const Status status = attention_rollout(layers, residual, rows.mutable_view());
  ASSERT_TRUE(status.ok()) << status.message();
  for_each_index(rows.shape(), [&](auto b, auto, auto v, auto j) {
    const double expected =
        whole[static_cast<std::size_t>(b)]
             [static_cast<std::size_t>(chosen[static_cast<std::size_t>(v)] * n + j)];
    expect_near(rows, static_cast<double>(b), 0, static_cast<double>(v), static_cast<double>(j),
                expected, bar * expected + 1e-30);
  });
}

// Everything, on one worker and on several, with a mask that gives them unequal items; and beside a
// NaN that one row attends to.
TEST_P(MapAnswers, WorkersDoNotChangeBitsAndNanStaysInItsRow) {
  Random random(3);
  Problem p = random_problem(random, GetParam(), {1, 1, 2, 900, 1100, 16, 16});
  p.rule = see_causal() & see_window(700, 0);
  p.q.set(0, 1, 450, 3, std::numeric_limits<double>::quiet_NaN());
  const auto answers = [&](const Executor& executor) {
    std::vector<Tensor> all;
    const DType dtype = p.statistics_dtype();
    const auto add = [&](const Shape& shape) -> Tensor& { return all.emplace_back(dtype, shape); };
    EXPECT_TRUE(attention_weights(map_inputs(p), p.options(), {0, -1, 0, -1, 300, 800, 200, 700},
                                  add({1, 2, 500, 500}).mutable_view(), executor)
                    .ok());
    EXPECT_TRUE(attention_picture(map_inputs(p), p.options(), {}, Pooling::kMax,
                                  add({1, 2, 90, 100}).mutable_view(), executor)
                    .ok());
    EXPECT_TRUE(attention_picture(map_inputs(p), p.options(), {}, Pooling::kSum,
                                  add({1, 1, 13, 17}).mutable_view(), executor)
                    .ok());
    EXPECT_TRUE(attention_entropy(map_inputs(p), p.options(), {},
                                  add({1, 2, 900, 1}).mutable_view(), executor)
                    .ok());
    EXPECT_TRUE(attention_column_sums(map_inputs(p), p.options(), {}, {},
                                      add({1, 2, 1, 1100}).mutable_view(), executor)
                    .ok());
    Tensor keys(DType::kInt64, {1, 2, 900, 3});
    EXPECT_TRUE(attention_top(map_inputs(p), p.options(), {}, keys.mutable_view(),
                              add({1, 2, 900, 3}).mutable_view(), executor)
                    .ok());
    all.push_back(keys);
    return all;
  };
  const std::vector<Tensor> one = answers(serial_executor()), three = answers(CountingExecutor(3));
  for (std::size_t n = 0; n < one.size(); ++n) EXPECT_TRUE(same_bits(one[n], three[n])) << n;
  for (std::int64_t i = 0; i < 900; ++i) {
    EXPECT_EQ(std::isnan(one[3].at(0, 1, i, 0)), i == 450) << i;
    EXPECT_EQ(std::isnan(one[5].at(0, 1, i, 0)), i == 450) << i;
    EXPECT_FALSE(std::isnan(one[3].at(0, 0, i, 0)));
  }
  // Row 450 lies in row 45 of the picture and sees keys up to 650: those of the first 66 columns,
  // but for what the window leaves out, which is nothing.
  for (std::int64_t j = 0; j < 100; ++j) EXPECT_EQ(std::isnan(one[1].at(0, 1, 45, j)), j < 60) << j;
}

TEST(MapAnswersErrors, NameTheArgument) {
  const Problem p = problem(kF32);
  const Options options = p.options();
  const auto tensor = [](const Shape& shape, DType dtype = kF32) { return Tensor(dtype, shape); };
  Tensor tall = tensor({2, 4, 62, 9}), wide = tensor({2, 4, 9, 91}), many = tensor({2, 4, 61, 91}),
         keys = tensor({2, 4, 61, 91}, DType::kInt64);
  Tensor few = tensor({2, 4, 61, 3}), floats = tensor({2, 4, 61, 3}), rows = tensor({2, 1, 3, 90});
  EXPECT_EQ(
      attention_picture(map_inputs(p), options, {}, Pooling::kMax, tall.mutable_view()).message(),
      "picture: shape (2, 4, 62, 9) has height 62; expected 1 to 61, the region's rows");
  EXPECT_EQ(
      attention_picture(map_inputs(p), options, {}, Pooling::kMax, wide.mutable_view()).message(),
      "picture: shape (2, 4, 9, 91) has width 91; expected 1 to 90, the region's keys");
  EXPECT_EQ(attention_picture(map_inputs(p), options, {0, -1, 0, -1, 3, 3, 0, -1}, Pooling::kMax,
                              tall.mutable_view())
                .message(),
            "region: holds no pairs: a picture needs some");
  EXPECT_EQ(
      attention_top(map_inputs(p), options, {}, keys.mutable_view(), many.mutable_view()).message(),
      "keys: shape (2, 4, 61, 91) asks for 91 keys; expected 1 to 90");
  EXPECT_EQ(attention_top(map_inputs(p), options, {}, floats.mutable_view(), few.mutable_view())
                .message(),
            "keys: dtype float32; expected int64");
  EXPECT_EQ(attention_top(map_inputs(p), options, {0, -1, 0, -1, 0, -1, 1, -1}, keys.mutable_view(),
                          few.mutable_view())
                .message(),
            "region: keys [1, 90); expected all 90");
  EXPECT_EQ(attention_entropy(map_inputs(p), options, {}, few.mutable_view()).message(),
            "entropy: shape (2, 4, 61, 3); expected (2, 4, 61, 1), (batches, heads, rows) of the "
            "region and 1, or with 1 head for the mean "
            "over heads");
  EXPECT_EQ(
      attention_column_sums(map_inputs(p), options, {}, few.view(), few.mutable_view()).message(),
      "row_weights: shape (2, 4, 61, 3); expected (2, 4, 61, 61), (batches, heads, vectors, rows) "
      "of the region, or 1 for the heads");
  const std::vector<RolloutLayer> layers{{map_inputs(p), options, nullptr}};
  EXPECT_EQ(attention_rollout(layers, 0.5, rows.mutable_view()).message(),
            "layers[0]: query (2, 4, 61, 24) and key (2, 2, 90, 24); expected batch 2 and length "
            "90 of both, as rows (2, 1, 3, 90)");
  EXPECT_EQ(attention_rollout(layers, 1.5, rows.mutable_view()).message(),
            "residual: 1.5; expected a share between 0 and 1");
}

INSTANTIATE_TEST_SUITE_P(DTypes, MapAnswers, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
