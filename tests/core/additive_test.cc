// SPDX-License-Identifier: Apache-2.0
// Additive scores v . tanh(q + k) against the formula: any size, heads, masks and modifiers,
// hostile values, bits.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "regard/target.h"
#include "tests/core/support/additive.h"
#include "tests/core/support/error_bar.h"
#include "tests/core/support/executors.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Something ordinary, the same each time.
double normal_at(std::int64_t i, std::int64_t d) {
  return std::sin(static_cast<double>(i * 131 + d * 71)) * 1.5;
}

double tolerance(DType dtype) { return dtype == kF64 ? 4e-15 : 2e-6; }

// With one key lse is that key's score. The scores of q's rows with each key, against long double.
void expect_exact_scores(const Problem& p, const std::string& what) {
  double sum = 0;
  for (std::int64_t d = 0; d < p.dim(); ++d) sum += std::abs(p.score_v.at(0, 0, 0, d));
  for (std::int64_t j = 0; j < p.len_k(); ++j) {
    Problem one = p.keys(j, 1);
    one.d_out = Tensor();
    const Results r = run(one);
    for (std::int64_t i = 0; i < p.len_q(); ++i) {
      long double score = 0;
      for (std::int64_t d = 0; d < p.dim(); ++d) {
        score += static_cast<long double>(p.score_v.at(0, 0, 0, d)) *
                 std::tanh(static_cast<long double>(p.q.at(0, 0, i, d)) +
                           static_cast<long double>(p.k.at(0, 0, j, d)));
      }
      ASSERT_NEAR(r.lse.at(0, 0, i, 0), static_cast<double>(score), tolerance(p.q.dtype()) * sum)
          << what << ", query " << i << ", key " << j;
    }
  }
}

class AdditiveTest : public ::testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }
};

TEST_P(AdditiveTest, AnySize) {
  Random random(1);
  for (const std::int64_t dim : {1, 2, 3, 4, 5, 15, 17, 32, 33, 63, 64, 65, 100, 257}) {
    const Problem p =
        additive_problem(random, dtype(), {1, 1, 1, 1 + dim % 29, 40, dim, 1 + dim % 40});
    ASSERT_EQ(errors_of(p, run(p)), "") << "dim " << dim;
  }
  for (const std::int64_t dim : {1, 7, 8, 9, 16, 20, 24, 33, 48, 63, 130}) {  // a decoder's step
    const Problem p =
        additive_problem(random, dtype(), {2, 1, 2, 1 + dim % 4, 100, dim, 131 - dim});
    ASSERT_EQ(errors_of(p, run(p)), "") << "few queries, dim " << dim;
  }
  for (const std::int64_t len_q : {1, 2, 11, 13, 24, 33, 97}) {
    for (const std::int64_t len_k : {1, 2, 12, 13, 31, 33, 96, 130}) {
      const Problem p = additive_problem(random, dtype(), {1, 1, 1, len_q, len_k, 6, 5});
      ASSERT_EQ(errors_of(p, run(p)), "") << len_q << " queries, " << len_k << " keys";
    }
  }
}

TEST_P(AdditiveTest, LargeDims) {
  Random random(2);
  for (const std::int64_t dim : {1000, 2048}) {
    const Problem p = additive_problem(random, dtype(), {1, 1, 1, 3, 130, dim, dim});
    ASSERT_EQ(errors_of(p, run(p)), "") << "dim " << dim;
  }
}

TEST_P(AdditiveTest, LongRows) {
  Random random(3);
  const Problem p = additive_problem(random, dtype(), {1, 1, 1, 110, 1700, 8, 8});
  ASSERT_EQ(errors_of(p, run(p)), "");
}

TEST_P(AdditiveTest, HeadsShareKeysAndV) {
  Random random(4);
  for (const bool shared : {false, true}) {
    for (const std::int64_t group : {1, 3}) {
      Problem p = additive_problem(random, dtype(), {2, 2, group, 25, 40, 14, 12}, shared);
      ASSERT_EQ(errors_of(p, run(p)), "") << "group " << group;
      p.scale = -0.7;
      ASSERT_EQ(errors_of(p, run(p)), "") << "group " << group << ", scaled";
    }
  }
}

TEST_P(AdditiveTest, MasksAndModifiers) {
  Random random(5);
  Problem p = additive_problem(random, dtype(), {2, 2, 2, 35, 50, 10, 16});
  for (const bool modified : {false, true}) {
    if (modified) {
      p.softcap = 1.5;
      p.biases.push_back({Tensor(kF32, {1, 4, 1, 50}), true});
      p.biases.push_back({Tensor(kF32, {2, 1, 35, 50}), false});
      for (BiasTensor& bias : p.biases) bias.values.fill_normal(random);
    }
    for (const char* mask : {"", "c", "w9:0", "k3", "t5:3", "p7.c", "w4:4.~", "d9"}) {
      p.rule = parse_rule(mask, 2, 4, 35, 50);
      ASSERT_EQ(errors_of(p, run(p)), "")
          << "mask '" << mask << "'" << (modified ? ", modified" : "");
    }
  }
}

TEST_P(AdditiveTest, GradientsOneByOne) {
  Random random(6);
  const Problem p = additive_problem(random, dtype(), {1, 2, 2, 20, 40, 12, 8});
  const Results all = run(p);
  for (int which = 0; which < 16; ++which) {
    Request request;
    request.dq = which & 1, request.dk = which & 2, request.dv = which & 4,
    request.d_score_v = which & 8;
    EXPECT_TRUE(same_bits(run(p, serial_executor(), request), all)) << which;
  }
}

// Elements far beyond where the exponentials end, cancelling or not; each row on its own, in every
// place of a tile.
TEST_P(AdditiveTest, ScoresOfAnyFiniteInput) {
  Random random(7);
  std::normal_distribution<double> normal;
  const double edge = dtype() == kF64 ? 330 : 33;
  for (const double reach : {0.0, 0.001, 1.0, 9.0, 20.0, edge, edge + 10, 3 * edge, 1e4}) {
    Problem p = additive_problem(random, dtype(), {1, 1, 1, 14, 6, 37, 4});
    p.d_lse = Tensor();
    for_each_index({1, 1, 14, 37}, [&](auto, auto, auto i, auto d) {
      p.q.set(0, 0, i, d, reach * ((i + d) % 3 - 1) + normal(random) * (i % 2));
    });
    // Half of the keys cancel the first query but for a little; the others reach as far by
    // themselves.
    for_each_index({1, 1, 6, 37}, [&](auto, auto, auto j, auto d) {
      p.k.set(0, 0, j, d, j % 2 ? reach * normal(random) : -p.q.at(0, 0, 0, d) + normal(random));
    });
    expect_exact_scores(p, "reach " + std::to_string(reach));
  }
}

// The largest finite numbers of the dtype: tanh is 1, -1 or, where they cancel, of what remains.
TEST_P(AdditiveTest, LargestNumbers) {
  Random random(8);
  Problem p = additive_problem(random, dtype(), {1, 1, 1, 13, 40, 6, 4});
  const double most = largest(dtype());
  for_each_index({1, 1, 13, 6}, [&](auto, auto, auto i, auto d) {
    p.q.set(0, 0, i, d, i % 3 == 0 ? (d % 2 ? most : -most) / 4 : normal_at(i, d));
  });
  for_each_index({1, 1, 40, 6}, [&](auto, auto, auto j, auto d) {
    p.k.set(0, 0, j, d, j % 4 == 0 ? (d % 2 ? -most : most) / 4 : normal_at(j, d));
  });
  EXPECT_EQ(errors_of(p, run(p)), "");
}

TEST_P(AdditiveTest, GradientsOfWideRows) {
  Random random(9);
  const double edge = dtype() == kF64 ? 340 : 40;
  for (const double reach : {edge, 3 * edge, 1e4}) {
    Problem p = additive_problem(random, dtype(), {1, 1, 2, 40, 60, 21, 8});
    for_each_index({1, 2, 40, 21}, [&](auto, auto h, auto i, auto d) {
      if (i % 3 == 0) p.q.set(0, h, i, d, reach * (d % 2 ? 1 : -1));
    });
    for_each_index({1, 1, 60, 21}, [&](auto, auto, auto j, auto d) {
      if (j % 4 == 0)
        p.k.set(0, 0, j, d, reach * (d % 2 ? -1 : 1) + 0.125 * static_cast<double>(d % 5));
    });
    for (const char* mask : {"", "c"}) {
      p.rule = parse_rule(mask, 1, 2, 40, 60);
      EXPECT_EQ(errors_of(p, run(p)), "") << "reach " << reach << ", mask '" << mask << "'";
    }
  }
}

// Masks whose rows are taken in another order than they lie: what is computed from the rows
// themselves must follow.
TEST_P(AdditiveTest, WideRowsInAnotherOrder) {
  Random random(21);
  const double reach = dtype() == kF64 ? 600 : 60;
  Problem p = additive_problem(random, dtype(), {1, 1, 2, 300, 300, 9, 8});
  for_each_index({1, 2, 300, 9}, [&](auto, auto h, auto i, auto d) {
    if (i % 5 == 0) p.q.set(0, h, i, d, reach * (d % 2 ? 1 : -1));
  });
  for_each_index({1, 1, 300, 9}, [&](auto, auto, auto j, auto d) {
    if (j % 3 == 0)
      p.k.set(0, 0, j, d, reach * (d % 2 ? -1 : 1) + 0.25 * static_cast<double>(j % 7));
  });
  p.rule = see_dilated(30, 30, {4});
  EXPECT_EQ(errors_of(p, run(p)), "");
}

// The largest element of a row decides how its exponentials are made, and whether its pairs need
// care.
TEST_P(AdditiveTest, RowsAtTheEdges) {
  Random random(36);
  const double unit = dtype() == kF64 ? 10 : 1;
  const std::vector<double> edges{31.9, 32, 32.1, 32.9, 33, 33.1, 34.9, 35, 35.1, 42.9, 43, 43.1};
  const auto count = static_cast<std::int64_t>(edges.size());
  for (const std::int64_t len_q : {std::int64_t{2}, count}) {
    Problem p = additive_problem(random, dtype(), {1, 1, 1, len_q, count, 33, 4});
    for (std::int64_t i = 0; i < count; ++i) {
      const double edge = unit * edges[static_cast<std::size_t>(i)];
      if (i < len_q) p.q.set(0, 0, i, (i * 5) % 33, -edge);
      p.k.set(0, 0, i, (i * 7) % 33, edge);
      p.k.set(0, 0, i, (i * 5) % 33, edge);
    }
    expect_exact_scores(p, std::to_string(len_q) + " queries");
    const Results plain = run(p);
    EXPECT_EQ(errors_of(p, plain), "") << len_q << " queries";
    EXPECT_TRUE(same_bits(plain, run(with_prepared_keys(p)))) << len_q << " queries";
  }
}

// A v of any size, tiny or huge: joined fractions must not overflow.
TEST_P(AdditiveTest, AnySizeOfV) {
  Random random(10);
  for (const double size : {1e-30, 1e-4, 1e3, 1e30}) {
    if (dtype() == kF16 && (size > 1e4 || size < 1e-4)) continue;
    Problem p = additive_problem(random, dtype(), {1, 1, 1, 9, 5, 33, 4});
    p.d_lse = Tensor();
    for_each_index({1, 1, 1, 33}, [&](auto, auto, auto, auto d) {
      p.score_v.set(0, 0, 0, d, d % 7 == 3 ? 0 : size * normal_at(d, 1));
    });
    expect_exact_scores(p, "v of size " + std::to_string(size));
  }
}

TEST_P(AdditiveTest, NanAndInfinity) {
  Random random(11);
  Problem p = additive_problem(random, dtype(), {1, 1, 1, 14, 45, 10, 4});
  p.q.set(0, 0, 3, 2, kInfinity);     // saturates
  p.q.set(0, 0, 5, 2, std::nan(""));  // this row alone is NaN
  p.k.set(0, 0, 40, 2, -kInfinity);   // NaN with row 3, saturates with the others
  Results r = run(p);
  for (std::int64_t i = 0; i < 14; ++i) {
    EXPECT_EQ(std::isnan(r.out.at(0, 0, i, 0)), i == 3 || i == 5) << "row " << i;
    EXPECT_EQ(std::isnan(r.dq.at(0, 0, i, 0)), i == 3 || i == 5) << "row " << i;
  }
  p.rule = see_lengths({40});
  p.k.set(0, 0, 41, 0, std::nan(""));
  r = run(p);
  for (std::int64_t i = 0; i < 14; ++i)
    EXPECT_EQ(std::isnan(r.out.at(0, 0, i, 0)), i == 5) << "row " << i << ", infinite key hidden";
  const Problem row = p.rows(3, 1);
  EXPECT_EQ(errors_of(row, run(row)), "") << "an infinite query";
}

// What is hidden may be anything: not a bit of the rest changes, forward and backward.
TEST_P(AdditiveTest, HiddenKeysNeverLeak) {
  Random random(12);
  for (const char* mask : {"c", "w3:2"}) {
    Problem calm = additive_problem(random, dtype(), {1, 1, 1, 30, 30, 18, 6});
    calm.rule = parse_rule(mask, 1, 1, 30, 30) & see_lengths({25});
    Problem wild = calm;
    for (std::int64_t j = 25; j < 30; ++j)
      for (std::int64_t d = 0; d < 18; ++d) wild.k.set(0, 0, j, d, d % 2 ? std::nan("") : 1e4);
    EXPECT_TRUE(same_bits(run(calm), run(wild))) << mask;
  }
}

// Rows of `sizes[n]` queries at a time against the same rows all together. Few queries are summed
// in another order than many.
TEST_P(AdditiveTest, ARowAloneIsTheRowAmongNeighbours) {
  Random random(13);
  for (const bool few : {false, true}) {
    const std::int64_t rows = few ? 4 : 31, size = few ? 1 : 5;
    for (const bool modified : {false, true}) {
      Problem together = additive_problem(random, dtype(), {1, 1, 1, rows, 150, 70, 20});
      // Neighbours of every kind: wide ones, NaN, infinite.
      for (std::int64_t d = 0; d < 70; ++d) {
        together.q.set(0, 0, 1, d, d % 2 ? 60 : -60);
        together.q.set(0, 0, few ? 2 : 9, d, 1e4);
        for (std::int64_t j = 0; j < 150; j += 7) together.k.set(0, 0, j, d, d % 2 ? -61 : 60);
      }
      together.q.set(0, 0, few ? 3 : 17, 3, std::nan(""));
      if (!few) together.q.set(0, 0, 18, 3, kInfinity);
      if (modified) {
        together.softcap = 3;
        together.biases.push_back({Tensor(kF32, {1, 1, rows, 150}), false});
        together.biases.back().values.fill_normal(random);
      }
      for (const bool is_causal : {false, true}) {
        if (is_causal) together.rule = see_causal(60);
        const Results all = run(together);
        for (std::int64_t i = 0; i + size <= rows; ++i) {
          Problem alone = together.rows(i, size);
          if (is_causal) alone.rule = see_causal(60 + i);
          ASSERT_TRUE(same_bits(all.slice(2, i, size), run(alone)))
              << "row " << i << " of " << rows << (is_causal ? ", causal" : "");
        }
      }
    }
  }
}

// Gaps that neighbours leave, or fill, must not change a row's sums.
TEST_P(AdditiveTest, NeighboursMasksNeverMatter) {
  Random random(31);
  for (const std::int64_t rows : {4, 31}) {
    for (const bool wide : {false, true}) {
      Problem p = additive_problem(random, dtype(), {1, 1, 1, rows, 150, 70, 20});
      for (std::int64_t d = 0; wide && d < 70; ++d) {
        for (std::int64_t j = 0; j < 150; j += 7) p.k.set(0, 0, j, d, d % 2 ? -61 : 60);
        p.q.set(0, 0, 2, d, d % 2 ? 60 : -60);
      }
      // Of every other dozen of keys some are seen; neighbours see all or nothing of the dozens, in
      // turns.
      Tensor allowed(DType::kBool, {1, 1, rows, 150});
      for_each_index(allowed.shape(), [&](auto, auto, auto i, auto j) {
        allowed.set(0, 0, i, j, i % 4 == 2 && j / 12 % 2 == 0 && random() % 3 == 0);
      });
      p.rule = see_tensor(allowed);
      const Results expected = run(p);
      for (int seen = 1; seen < 8; ++seen) {
        for_each_index(allowed.shape(), [&](auto, auto, auto i, auto j) {
          if (i % 4 != 2) allowed.set(0, 0, i, j, (seen >> j / 12 % 3 & 1) != 0);
        });
        p.rule = see_tensor(allowed);
        const Results got = run(p);
        for (std::int64_t i = 2; i < rows; i += 4) {
          ASSERT_TRUE(same_bits(expected.slice(2, i, 1), got.slice(2, i, 1)))
              << "row " << i << " of " << rows << ", wide " << wide;
        }
      }
    }
  }
}

TEST_P(AdditiveTest, WorkersNeverMatter) {
  Random random(14);
  Problem p = additive_problem(random, dtype(), {2, 2, 2, 200, 900, 12, 8}, true);
  p.rule = see_causal();
  const Results alone = run(p);
  for (const int workers : {2, 3, 5})
    EXPECT_TRUE(same_bits(alone, run(p, CountingExecutor(workers, std::chrono::microseconds(200)))))
        << workers;
}

std::string dtype_name(const ::testing::TestParamInfo<DType>& info) { return name_of(info.param); }
INSTANTIATE_TEST_SUITE_P(EachDType, AdditiveTest, ::testing::Values(kF32, kBf16, kF16, kF64),
                         dtype_name);

TEST(AdditiveValidation, NamesWhatIsWrong) {
  Random random(15);
  const auto error_of = [](const Problem& p) { return attempt(p, serial_executor(), {}).error; };
  Problem p = additive_problem(random, kF32, {1, 2, 1, 3, 4, 8, 8});
  EXPECT_EQ(error_of(p), "");
  p.score_v = Tensor(kF32, {1, 2, 1, 7});
  EXPECT_EQ(error_of(p),
            "forward(): score.v: shape (1, 2, 1, 7); expected one that broadcasts to (batch, "
            "heads, 1, dim) of query, (1, 2, 1, 8)");
  p.score_v = Tensor(DType::kInt32, {1, 2, 1, 8});
  EXPECT_EQ(error_of(p),
            "forward(): score.v: dtype int32; expected float32, bfloat16, float16 or float64");
  p = additive_problem(random, kF32, {1, 2, 1, 3, 4, 8, 8});
  p.prepared_keys = Tensor(kF32, {1, 2, 5, 8});
  EXPECT_EQ(
      error_of(p),
      "forward(): score.prepared_keys: shape (1, 2, 5, 8); expected that of key, (1, 2, 4, 8)");
  p.prepared_keys = Tensor(kF64, {1, 2, 4, 8});
  EXPECT_EQ(error_of(p),
            "forward(): score.prepared_keys: dtype float64; expected float32, as prepare_keys() "
            "makes them");
  EXPECT_EQ(prepare_keys(p.k.view(), Tensor(kF32, {1, 2, 4, 7}).mutable_view()).message(),
            "prepared: shape (1, 2, 4, 7); expected (1, 2, 4, 8), that of key");
  EXPECT_EQ(prepare_keys(p.k.view(), p.prepared_keys.mutable_view()).message(),
            "prepared: dtype float64; expected float32, as scores are computed");
  EXPECT_EQ(prepare_keys(Tensor(DType::kInt32, {1, 2, 4, 8}).view(), p.prepared_keys.mutable_view())
                .message(),
            "key: dtype int32; expected float32, bfloat16, float16 or float64");
  p = additive_problem(random, kF32, {1, 1, 1, 1, 1, 2049, 8});
  EXPECT_EQ(error_of(p),
            "forward(): query: shape (1, 1, 1, 2049) has dim 2049; expected 1 to 2048");
  p.score_v = Tensor();
  p.q = Tensor(kF32, {1, 1, 1, 513});
  EXPECT_EQ(error_of(p), "forward(): query: shape (1, 1, 1, 513) has dim 513; expected 1 to 512");
}

}  // namespace
}  // namespace regard::testing
