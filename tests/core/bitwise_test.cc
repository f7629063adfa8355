// SPDX-License-Identifier: Apache-2.0
// A row's bits depend on its own query, its keys and values, the options and the lengths. So a row
// computed alone must be the row computed among neighbours, in batches, in packed documents and by
// any number of workers, bit by bit, forward and backward; above all where the online softmax meets
// maxima that rise past 2^128 along the keys, and first panels that a row cannot see.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/core/support/executors.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

// A rule for rows [first, first + size) of len_q, as those rows see it when they are computed
// alone.
struct RowRule {
  const char* name;
  Rule (*make)(std::int64_t first, std::int64_t size, std::int64_t len_q, std::int64_t len_k);
};

// A boolean matrix in which neighbours differ as much as they can: rows that see all, none, one
// late key, a few ranges.
Rule ragged_rows(std::int64_t first, std::int64_t size, std::int64_t, std::int64_t len_k) {
  Tensor allowed(DType::kBool, {1, 1, size, len_k});
  for (std::int64_t i = 0; i < size; ++i) {
    const std::int64_t row = first + i;
    for (std::int64_t j = 0; j < len_k; ++j) {
      bool sees = false;
      switch (row % 7) {
        case 0: sees = true; break;
        case 1: sees = j == len_k - 1 - row % 5; break;
        case 2: break;
        case 3: sees = j >= 33 + row; break;
        case 4: sees = (j / 32) % 3 == 1; break;
        case 5: sees = (j * 7919 + row * 104729) % 5 == 0; break;
        case 6: sees = j % 64 == 63 || j > len_k / 2; break;
      }
      allowed.set(0, 0, i, j, sees);
    }
  }
  return see_tensor(std::move(allowed));
}

const RowRule kRowRules[] = {
    {"all", [](auto, auto, auto, auto) { return see_all(); }},
    {"causal, bottom-right",
     [](auto first, auto, auto len_q, auto len_k) { return see_causal(len_k - len_q + first); }},
    {"causal, top-left", [](auto first, auto, auto, auto) { return see_causal(first); }},
    // Each row starts a key later than the one above: most first panels of a tile are invisible to
    // some of its rows.
    {"window of 5", [](auto first, auto, auto len_q,
                       auto len_k) { return see_window(4, 0, len_k - len_q + first); }},
    {"keys far right",
     [](auto first, auto, auto, auto) {
       return see_window(-1, 3, 90 + first) & ~see_window(-1, 0, 40 + first);
     }},
    {"everything but the past",
     [](auto first, auto, auto, auto) { return ~see_causal(first + 20); }},
    {"ragged rows", ragged_rows},
};

// Scores that change by about `slope` with every 32 keys, down for every third row and up for the
// others; the rest is random.
Problem sloping_problem(Random& random, DType dtype, const Sizes& sizes, double slope) {
  Problem p = random_problem(random, dtype, sizes);
  const double root = std::sqrt(static_cast<double>(sizes.dim));
  for_each_index({sizes.batch, sizes.heads_kv, sizes.len_k, 1}, [&](auto b, auto h, auto j, auto) {
    p.k.set(b, h, j, 0, slope * static_cast<double>(j) / 32);
  });
  for_each_index(
      {sizes.batch, sizes.heads_kv * sizes.group, sizes.len_q, 1},
      [&](auto b, auto h, auto i, auto) { p.q.set(b, h, i, 0, i % 3 == 2 ? -root : root); });
  p.d_lse =
      Tensor(p.statistics_dtype(), {sizes.batch, sizes.heads_kv * sizes.group, sizes.len_q, 1});
  p.d_lse.fill_normal(random);
  return p;
}

// 0: nothing to modify. The others take the staged way.
constexpr int kStages = 4;
void add_stages(Problem& p, Random& random, int stages) {
  const auto add_bias = [&](const Shape& shape, bool before) {
    p.biases.push_back({Tensor(kF32, shape), before});
    p.biases.back().values.fill_normal(random);
  };
  if (stages == 1) add_bias({p.batch(), p.heads(), p.len_q(), p.len_k()}, false);
  if (stages == 2) p.softcap = 300;
  if (stages == 3) {
    p.softcap = 200;
    add_bias({1, 1, p.len_q(), p.len_k()}, true);
    add_bias({1, p.heads(), 1, p.len_k()}, false);
  }
}

class Bitwise : public ::testing::TestWithParam<DType> {};

TEST_P(Bitwise, ARowAloneIsTheRowAmongNeighbours) {
  Random random(1);
  const struct {
    std::int64_t len_q, len_k, dim, dim_v;
  } shapes[] = {{29, 150, 16, 24}, {14, 1100, 40, 33}};
  for (const auto& shape : shapes) {
    for (const double slope : {20.0, -20.0, 0.0, 90.0}) {
      for (int stages = 0; stages < kStages; ++stages) {
        Problem together = sloping_problem(
            random, GetParam(), {1, 1, 1, shape.len_q, shape.len_k, shape.dim, shape.dim_v}, slope);
        add_stages(together, random, stages);
        for (const RowRule& rule : kRowRules) {
          together.rule = rule.make(0, shape.len_q, shape.len_q, shape.len_k);
          const Results all = run(together);
          for (std::int64_t i = 0; i<shape.len_q; i += shape.len_k> 1000 ? 5 : 1) {
            Problem alone = together.rows(i, 1);
            alone.rule = rule.make(i, 1, shape.len_q, shape.len_k);
            // A bias broadcast over rows is summed over them: not one row's to compare.
            ASSERT_TRUE(same_bits(all.slice(2, i, 1), run(alone)))
                << "row " << i << " of " << shape.len_q << ", len_k " << shape.len_k << ", slope "
                << slope << ", stages " << stages << ", " << rule.name;
          }
        }
      }
    }
  }
}

// The same lengths, other neighbours: huge, tiny, infinite, NaN.
TEST_P(Bitwise, NeighboursNeverMatter) {
  Random random(2);
  const Sizes sizes{1, 1, 2, 40, 140, 24, 20};
  for (const double slope : {25.0, 0.0}) {
    for (int stages = 0; stages < kStages; ++stages) {
      Problem calm = sloping_problem(random, GetParam(), sizes, slope);
      add_stages(calm, random, stages);
      for (const RowRule& rule : kRowRules) {
        calm.rule = rule.make(0, sizes.len_q, sizes.len_q, sizes.len_k);
        const Results expected = run(calm);
        Problem wild = calm;
        for_each_index({1, 2, sizes.len_q, sizes.dim}, [&](auto, auto h, auto i, auto d) {
          const double extremes[] = {1e4, -1e4, 0, INFINITY, NAN, -INFINITY, 1e-6};
          if (i % 4 != 1) wild.q.set(0, h, i, d, extremes[(i + d * (i % 2)) % 7]);
        });
        const Results got = run(wild);
        for (std::int64_t i = 1; i < sizes.len_q; i += 4) {
          ASSERT_TRUE(same_bits(expected.slice(2, i, 1), got.slice(2, i, 1)))
              << "row " << i << ", slope " << slope << ", stages " << stages << ", " << rule.name;
        }
      }
    }
  }
}

// What a neighbour may see widens the intervals of a tile: it must not change what a row that
// cannot see it makes of the rest.
TEST_P(Bitwise, NeighboursMasksNeverMatter) {
  Random random(3);
  const std::int64_t len_q = 25, len_k = 210;
  for (const double slope : {20.0, -20.0, 0.0}) {
    for (int stages = 0; stages < kStages; ++stages) {
      Problem p = sloping_problem(random, GetParam(), {1, 1, 1, len_q, len_k, 8, 8}, slope);
      add_stages(p, random, stages);
      Tensor narrow(DType::kBool, {1, 1, len_q, len_k});
      for_each_index(narrow.shape(), [&](auto, auto, auto i, auto j) {
        narrow.set(0, 0, i, j, j >= 70 + i && j < 120 + 3 * i);
      });
      p.rule = see_tensor(narrow);
      const Results expected = run(p);
      for (int kind = 0; kind < 3; ++kind) {
        Tensor wide = narrow;
        for_each_index(narrow.shape(), [&](auto, auto, auto i, auto j) {
          if (i % 6 != 2)
            wide.set(0, 0, i, j, kind == 0 || (kind == 1 ? (j * 31 + i) % 3 == 0 : false));
        });
        p.rule = see_tensor(wide);
        const Results got = run(p);
        for (std::int64_t i = 2; i < len_q; i += 6) {
          ASSERT_TRUE(same_bits(expected.slice(2, i, 1), got.slice(2, i, 1)))
              << "row " << i << ", slope " << slope << ", stages " << stages
              << ", neighbours of kind " << kind;
        }
      }
    }
  }
}

TEST_P(Bitwise, ABatchEntryAloneIsTheEntryInTheBatch) {
  Random random(4);
  for (int stages = 0; stages < kStages; ++stages) {
    Problem p = sloping_problem(random, GetParam(), {5, 2, 2, 33, 170, 20, 12}, 20);
    add_stages(p, random, stages);
    const std::vector<std::int64_t> lengths{170, 1, 95, 0, 64};
    const Rule inside = see_causal(100);
    p.rule = see_lengths(lengths) & inside;
    const Results batch = run(p, CountingExecutor(3));
    for (std::int64_t b = 0; b < 5; ++b) {
      Problem alone = p.batch_entry(b);
      alone.rule = see_lengths({lengths[b]}) & inside;
      EXPECT_TRUE(same_bits(batch.slice(0, b, 1), run(alone)))
          << "batch entry " << b << ", stages " << stages;
    }
  }
}

TEST_P(Bitwise, AHeadAloneIsTheHeadAmongHeads) {
  Random random(5);
  for (int stages = 0; stages < kStages; ++stages) {
    Problem p = sloping_problem(random, GetParam(), {1, 2, 3, 40, 130, 32, 16}, 20);
    add_stages(p, random, stages);
    p.rule = see_causal();
    const Results heads = run(p, CountingExecutor(2));
    for (std::int64_t h = 0; h < 6; ++h) {
      Results alone = run(p.head(h));
      alone.dk = alone.dv = Tensor();  // in the group they are sums over its heads
      EXPECT_TRUE(same_bits(heads.slice(1, h, 1), alone)) << "head " << h << ", stages " << stages;
    }
  }
}

TEST_P(Bitwise, ADocumentAloneIsTheDocumentAmongDocuments) {
  Random random(6);
  const std::vector<std::int64_t> cu_q{0, 1, 14, 14, 60, 97, 97},
      cu_k{0, 40, 41, 60, 160, 197, 230};
  const std::int64_t len_q = 100, len_k = 233;  // a few rows past the last document
  for (const bool is_causal : {true, false}) {
    for (const bool capped : {false, true}) {
      Problem packed = sloping_problem(random, GetParam(), {1, 2, 2, len_q, len_k, 24, 40}, 20);
      const Rule inside = is_causal ? see_causal() & see_window(50, -1) : see_all();
      packed.rule = see_documents(cu_q, cu_k, inside);
      packed.softcap = capped ? 300 : 0;
      const Results all = run(packed, CountingExecutor(3));
      for (std::size_t n = 0; n + 1 < cu_q.size(); ++n) {
        const std::int64_t rows = cu_q[n + 1] - cu_q[n], keys = cu_k[n + 1] - cu_k[n];
        if (rows == 0 || keys == 0) continue;
        Problem alone = packed.rows(cu_q[n], rows).keys(cu_k[n], keys);
        alone.rule = inside;
        Results expected = run(alone);
        Results part = all.slice(2, cu_q[n], rows);
        part.dk = all.dk.slice(2, cu_k[n], keys);
        part.dv = all.dv.slice(2, cu_k[n], keys);
        EXPECT_TRUE(same_bits(part, expected))
            << "document " << n << (is_causal ? ", causal" : "") << (capped ? ", softcap" : "");
      }
    }
  }
}

TEST_P(Bitwise, WorkersNeverMatter) {
  Random random(7);
  for (int stages = 0; stages < kStages; ++stages) {
    // One long head that workers share, and several short ones; of the last, enough for as many
    // workers as there are.
    const Sizes enough{4, 2, 1, 70, 300, 16, 16};
    for (const Sizes& sizes :
         {Sizes{1, 1, 1, 300, 1700, 16, 16}, Sizes{3, 1, 3, 50, 90, 16, 16}, enough}) {
      Problem p = sloping_problem(random, GetParam(), sizes, 20);
      add_stages(p, random, stages);
      p.rule = see_causal();
      const Results expected = run(p);
      for (const int workers : {1, 2, 3, 8}) {
        const CountingExecutor executor(workers);
        EXPECT_TRUE(same_bits(expected, run(p, executor)))
            << workers << " workers, stages " << stages;
        // The last stages' gradient is summed over all batch entries: one worker's backward pass.
        const std::vector<int> passes(stages == 3 ? 1 : 2, workers);
        if (sizes.batch == enough.batch && workers > 1)
          EXPECT_EQ(executor.runs(), passes) << workers << " workers, stages " << stages;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, Bitwise, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

// The premise of the tests above: their scores do rise past 2^128 of the first panel's, and what
// comes out is still right.
TEST(BitwisePremise, MaximaRisePastTheFloatRange) {
  Random random(8);
  const Problem p = sloping_problem(random, kF32, {1, 1, 1, 2, 1100, 16, 4}, 20);
  const Results r = run(p);
  EXPECT_GT(r.maximum.at(0, 0, 0, 0), 128 * std::log(2.0) * 5);
  EXPECT_TRUE(std::isfinite(r.lse.at(0, 0, 0, 0)));
}

}  // namespace
}  // namespace regard::testing
