// SPDX-License-Identifier: Apache-2.0
// The masks of sparse attention: their edges, what they complain of, and how they look.
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <set>

#include "regard/plan.h"
#include "tests/core/support/truth.h"

namespace regard {
namespace {

using namespace testing;

std::string complaint(const Mask& mask, const PlanShape& shape = {2, 4, 20, 30}) {
  Plan plan;
  const Status status = Plan::make(mask, shape, &plan);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  return status.message();
}

std::string drawing(const Mask& mask, const PlanShape& shape, std::int64_t batch = 0,
                    std::int64_t head = 0) {
  Plan plan;
  const Status status = Plan::make(mask, shape, &plan);
  EXPECT_TRUE(status.ok()) << status.message();
  return plan.picture(batch, head);
}

double density(const Mask& mask, const PlanShape& shape) {
  Plan plan;
  EXPECT_TRUE(Plan::make(mask, shape, &plan).ok());
  return plan.density();
}

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST(SparseMask, Dilated) {
  const PlanShape shape{1, 3, 50, 90};
  for (const std::int64_t left : {-1, 0, 3, 40}) {
    for (const std::int64_t right : {-1, 0, 2}) {
      for (const std::int64_t dilation : {1, 2, 5, 13, 63, 64, 65, 100}) {
        expect_truth(see_dilated(left, right, {dilation}), shape);
        expect_truth(see_dilated(left, right, {dilation}, -11), shape);
        expect_truth(see_dilated(left, right, {1, dilation, 3}), shape);
      }
    }
  }
  // As far as numbers go: a dilation that no two rows are apart leaves each query one key,
  // unbounded sides or not.
  expect_truth(
      {dilated(kMost, kMost, 1 << 30, 3), [](const Pair& p) { return p.j == p.i + 3; }, {}, {}},
      shape);
  expect_truth({dilated(kMost, -1, 2, kMost),
                [](const Pair& p) { return (p.i + 1 - p.j) % 2 == 0; },
                {},
                {}},
               shape);
}

TEST(SparseMask, DilatedLooksLikeAComb) {
  EXPECT_EQ(drawing(dilated(1, 1, 2), {1, 1, 4, 4}), "+++.\n++++\n++++\n.+++\n");
  EXPECT_EQ(drawing(dilated(1, 0, 1), {1, 1, 4, 4}), drawing(window(1, 0), {1, 1, 4, 4}));
}

TEST(SparseMask, GlobalTokens) {
  expect_truth(see_global_tokens({{}}), {2, 2, 30, 80});
  expect_truth(see_global_tokens({{79, 50, 0, 50}}), {2, 2, 30, 80});
  expect_truth(see_global_tokens({{3}, {}, {20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}}),
               {3, 1, 50, 50});
  expect_truth(see_window(4, 4) | see_global_tokens({{0, 25}}), {1, 2, 60, 60});
  expect_truth(see_global_tokens({{0, 7}}, 0), {1, 1, 20, 5});
  expect_truth(
      see_documents({0, 14, 28}, {0, 40, 80}, see_window(1, 1) | see_global_tokens({{0, 30}})),
      {1, 1, 30, 80});
  EXPECT_EQ(drawing(global_tokens({1}), {1, 1, 4, 4}), ".#..\n####\n.#..\n.#..\n");
}

TEST(SparseMask, Blocks) {
  Tensor layout(DType::kBool, {1, 2, 4, 3});
  for_each_index(layout.shape(), [&](auto b, auto h, auto i, auto j) {
    layout.set(b, h, i, j, (i + j + h) % 2 == 0);
  });
  expect_truth(see_blocks(layout, 10, 30), {2, 2, 37, 75});
  expect_truth(see_blocks(layout, 16, 64), {1, 2, 64, 192});
  expect_truth(see_documents({0, 15, 37}, {0, 33, 75}, see_blocks(layout, 10, 30)), {2, 2, 37, 75});
  EXPECT_EQ(drawing(blocks(layout.view(), 1, 2), {1, 2, 4, 6}, 0, 1),
            "..##..\n##..##\n..##..\n##..##\n");
  // The layout was copied.
  const Mask mask = blocks(layout.view(), 1, 2);
  layout.fill(0);
  EXPECT_EQ(drawing(mask, {1, 2, 4, 6}), "##..##\n..##..\n##..##\n..##..\n");
}

TEST(SparseMask, PrefixTreeAround) {
  for (const PlanShape& shape : {PlanShape{2, 1, 40, 40}, {2, 1, 30, 90}, {2, 1, 90, 30}}) {
    expect_truth(see_prefix({0, 17}), shape);
    expect_truth(see_prefix({30, 5}, -4), shape);
    expect_truth(see_tree({{}}), shape);
    expect_truth(see_tree({{-1, 0, 0, 1, 1, 2, 5, -1, 7}}), shape);
    expect_truth(see_tree({{-1, -1, -1}, {-1, 0, 1}}), shape);
    expect_truth(see_documents({0, 10, 30}, {0, 4, 30}, see_tree({{-1, 0, 0, 1, 1, 2, 5, -1, 7}})),
                 shape);
  }
  EXPECT_EQ(drawing(prefix({2}), {1, 1, 4, 4}), "##..\n##..\n###.\n####\n");
  EXPECT_EQ(drawing(tree({-1, 0, 0}), {1, 1, 3, 5}), "###..\n####.\n###.#\n");
  Tensor centres(kF64, {1, 1, 4, 1});
  const double places[] = {0, 2.5, -7, std::numeric_limits<double>::quiet_NaN()};
  for (int i = 0; i < 4; ++i) centres.set(0, 0, i, 0, places[i]);
  EXPECT_EQ(drawing(around(centres.view(), 1), {1, 1, 4, 5}), "##...\n..##.\n.....\n.....\n");
  centres.set(0, 0, 2, 0, std::numeric_limits<double>::infinity());
  expect_truth(see_around(centres, 1), {2, 3, 4, 50});
  centres.set(0, 0, 3, 0, 1e300);
  expect_truth(see_around(centres, kMost), {2, 3, 4, 50});
}

// A chain is causal, however long: neither its plan nor its bits walk from node to root.
TEST(SparseMask, LongTrees) {
  const std::int64_t n = 1 << 18;
  std::vector<std::int64_t> chain(n), comb(n);
  for (std::int64_t k = 0; k < n; ++k)
    chain[k] = k - 1, comb[k] = k % 2 == 0 ? k - 2 : k - 1;  // odd nodes are leaves
  comb[0] = -1;
  EXPECT_DOUBLE_EQ(density(tree(chain), {1, 1, n, n}), density(causal(), {1, 1, n, n}));
  plan::Layout layout;
  ASSERT_TRUE(layout.build(tree(comb), {1, 1, 12, n}).ok());
  std::uint64_t word = 0;
  for (std::int64_t j0 = 0; j0 + 64 < n; j0 += 64) {
    layout.bits(0, 0, 11, 1, j0, &word);
    ASSERT_EQ(word, 0x5555555555555555u);
  }
}

// What bigbird() promises of its random blocks, row by row.
TEST(SparseMask, BigBirdDrawsRandomBlocks) {
  const std::int64_t heads = 6, count = 40, random = 3;
  plan::Layout layout;
  const PlanShape shape{2, heads, count * 2, count * 2};
  ASSERT_TRUE(layout.build(bigbird({2, 3, 2, random, 11}), shape).ok());
  const auto row_of = [&](const plan::Layout& of, std::int64_t head, std::int64_t row) {
    std::uint64_t blocks = 0;
    for (std::int64_t column = 0; column < count; ++column) {
      std::uint64_t words[2];
      of.bits(0, static_cast<std::int32_t>(head), row * 2, 2, column * 2, words);
      EXPECT_EQ(words[0] & 3, words[1] & 3);
      EXPECT_TRUE((words[0] & 3) == 0 || (words[0] & 3) == 3);
      blocks |= (words[0] & 1) << column;
    }
    return blocks;
  };
  std::set<std::uint64_t> rows;
  std::vector<int> drawn(count);
  for (std::int64_t h = 0; h < heads; ++h) {
    EXPECT_EQ(row_of(layout, h, 0), (std::uint64_t{1} << count) - 1);
    EXPECT_EQ(row_of(layout, h, count - 1), (std::uint64_t{1} << count) - 1);
    for (std::int64_t row = 1; row + 1 < count; ++row) {
      std::uint64_t fixed =
          std::uint64_t{1} | std::uint64_t{1} << (count - 1) | std::uint64_t{7} << (row - 1);
      const std::uint64_t blocks = row_of(layout, h, row);
      EXPECT_EQ(blocks & fixed, fixed);
      EXPECT_EQ(std::popcount(blocks & ~fixed), random);
      rows.insert(blocks & ~fixed);
      for (std::int64_t column = 0; column < count; ++column)
        drawn[static_cast<std::size_t>(column)] +=
            static_cast<int>((blocks & ~fixed) >> column & 1);
    }
  }
  EXPECT_GT(rows.size(), 200u);  // of 228: heads and rows differ
  // 684 draws over 38 columns are 18 each, give or take 4: nothing is left out, nothing preferred.
  for (std::int64_t column = 1; column + 1 < count; ++column) {
    EXPECT_GT(drawn[static_cast<std::size_t>(column)], 2) << column;
    EXPECT_LT(drawn[static_cast<std::size_t>(column)], 40) << column;
  }
  // The same again; another with another seed.
  plan::Layout again, other;
  ASSERT_TRUE(again.build(bigbird({2, 3, 2, random, 11}), shape).ok());
  ASSERT_TRUE(other.build(bigbird({2, 3, 2, random, 12}), shape).ok());
  int same = 0;
  for (std::int64_t row = 0; row < count; ++row) {
    EXPECT_EQ(row_of(layout, 1, row), row_of(again, 1, row));
    same += row_of(layout, 1, row) == row_of(other, 1, row);
  }
  EXPECT_LT(same, 10);
}

TEST(SparseMask, DensityIsWhatTheTilesHold) {
  const std::int64_t n = 65536;
  // As they lie: the 16 tokens already stand in front.
  EXPECT_NEAR(density(window(256, 256) |
                          global_tokens({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}),
                      {1, 1, n, n}),
              (524.0 + 2 * 16 + 8) / n, 20.0 / n);
  // 8 blocks of 64 keys; of 16 units of 12 rows two lie in two blocks of queries, which differ in 4
  // blocks of keys.
  EXPECT_NEAR(density(bigbird(), {1, 2, n, n}), (8 * 64 + 0.125 * 4 * 64 + 2 * 64) / n, 10.0 / n);
  EXPECT_NEAR(density(prefix({n / 2}), {1, 1, n, n}), 0.5 + 0.125, 0.001);
}

// Rows in an order of their own: every tile that a dilated window or a scattered global token holds
// is then nearly full.
TEST(SparseMask, OrderLeavesNoGaps) {
  const std::int64_t n = 65536;
  std::vector<std::int64_t> scattered;
  for (std::int64_t k = 0; k < 16; ++k) scattered.push_back(k * n / 16 + 100);
  EXPECT_NEAR(density(dilated(256, 256, 4), {1, 2, n, n}), 524.0 / n, 10.0 / n);
  EXPECT_NEAR(density(dilated(255, 0, {1, 8}), {1, 2, n, n}), 267.0 / n, 10.0 / n);
  EXPECT_NEAR(density(window(256, 256) | global_tokens(scattered), {1, 1, n, n}),
              (524.0 + 2 * 16 + 8) / n, 20.0 / n);
  EXPECT_NEAR(density(dilated(256, 256, 4) | global_tokens(scattered), {1, 1, n, n}),
              (524.0 + 2 * 16 + 8) / n, 20.0 / n);
}

TEST(SparseMask, OrderIsMadeWhereItHelps) {
  const auto has_order = [](const Mask& mask, const PlanShape& shape = {1, 4, 60, 60}) {
    plan::Layout layout;
    EXPECT_TRUE(layout.build(mask, shape).ok());
    return layout.ordered() != nullptr;
  };
  EXPECT_FALSE(has_order(causal() & window(4, 4)));
  EXPECT_FALSE(has_order(dilated(4, 4, 1)));
  EXPECT_FALSE(has_order(dilated(4, 4, 1000)));
  EXPECT_FALSE(has_order(causal() | global_tokens({0, 1, 2})));  // they stand in front already
  EXPECT_TRUE(has_order(causal() | global_tokens({0, 2})));
  EXPECT_TRUE(has_order(~(causal() & dilated(4, 4, {1, 1, 3, 1}))));
  // Once made for one mask, it does not stay for the next.
  plan::Layout layout;
  ASSERT_TRUE(layout.build(dilated(4, 4, 2), {1, 4, 60, 60}).ok());
  ASSERT_NE(layout.ordered(), nullptr);
  EXPECT_EQ(layout.ordered()->orders.size(), 1u);
  ASSERT_TRUE(layout.build(causal(), {1, 4, 60, 60}).ok());
  EXPECT_EQ(layout.ordered(), nullptr);
  // Heads that share keys need one order.
  ASSERT_TRUE(layout.build(dilated(4, 4, {2, 2, 3, 3}), {1, 4, 60, 60}).ok());
  EXPECT_TRUE(layout.ordered()->one_order_for_each(2));
  EXPECT_FALSE(layout.ordered()->one_order_for_each(4));
  ASSERT_TRUE(layout.build(dilated(4, 4, {2, 3, 3, 3}), {1, 4, 60, 60}).ok());
  EXPECT_FALSE(layout.ordered()->one_order_for_each(2));
  EXPECT_TRUE(layout.ordered()->one_order_for_each(1));
}

TEST(SparseMask, MemoryGrowsWithRows) {
  const std::int64_t n = 1 << 20;
  plan::Layout layout;
  ASSERT_TRUE(
      layout.build(dilated(255, 0, 4) | global_tokens({5, 1000, n - 1}), {1, 1, n, n}).ok());
  ASSERT_NE(layout.ordered(), nullptr);
  const plan::Layout& ordered = *layout.ordered();
  EXPECT_EQ(ordered.orders.size(), 1u);
  EXPECT_LE(ordered.intervals.size(), 6 * ordered.offsets.size());
}

TEST(SparseMask, Complaints) {
  EXPECT_EQ(complaint(dilated(-2, 0, 1)),
            "dilated: left -2, right 0; expected counts of keys, or -1 for no bound");
  EXPECT_EQ(complaint(dilated(1, 0, 0)), "dilated: a dilation of 0; expected 1 to 2147483584");
  EXPECT_EQ(complaint(dilated(1, 0, std::vector<std::int64_t>{1, 2})),
            "dilated: 2 dilations; expected one, or one for each of 4 query heads");
  EXPECT_EQ(complaint(global_tokens({30})),
            "global_tokens: token 30; expected 0 to 29, the tokens there are");
  EXPECT_EQ(complaint(global_tokens({-1, 5})),
            "global_tokens: token -1; expected 0 to 29, the tokens there are");
  EXPECT_EQ(complaint(global_tokens_by_batch({{1}})),
            "global_tokens: 1 lists; expected one for each of 2 batch entries");
  EXPECT_EQ(complaint(prefix({1})), "prefix: 1 lengths; expected one for each of 2 batch entries");
  EXPECT_EQ(complaint(prefix({1, 31})),
            "prefix: length 31 of batch entry 1; expected 0 to 30, the keys there are");
  EXPECT_EQ(complaint(tree(std::vector<std::int64_t>(31, -1))),
            "tree: 31 nodes; expected at most 30, the keys there are");
  EXPECT_EQ(complaint(tree({-1, 1})),
            "tree: the parent of node 1 is 1; expected an earlier node, or -1");
  EXPECT_EQ(complaint(tree({-2})),
            "tree: the parent of node 0 is -2; expected an earlier node, or -1");
  EXPECT_EQ(complaint(tree_by_batch({{-1}})),
            "tree: 1 lists of parents; expected one for each of 2 batch entries");
  Tensor floats(kF32, {1, 1, 20, 1}), bools(DType::kBool, {1, 1, 2, 3});
  EXPECT_EQ(complaint(around(floats.view(), -1)),
            "around: width -1; expected a count of keys on each side, from 0");
  EXPECT_EQ(complaint(around(bools.view(), 1)),
            "around: centres have dtype bool; expected a floating one");
  EXPECT_EQ(complaint(around(floats.view(), 1), {1, 1, 21, 30}),
            "around: centres of shape (1, 1, 20, 1) do not broadcast to (batch, heads, len_q, 1) "
            "(1, 1, 21, 1)");
  EXPECT_EQ(complaint(blocks(floats.view(), 1, 1)),
            "blocks: the layout has dtype float32; expected bool, true where attended");
  EXPECT_EQ(complaint(blocks(bools.view(), 0, 1)),
            "blocks: blocks of 0 queries by 1 keys; expected at least 1 of each");
  EXPECT_EQ(complaint(blocks(bools.view(), 10, 20)),
            "blocks: layout of shape (1, 1, 2, 3); expected (2, 4, 2, 2) (batch, heads, blocks of "
            "queries, blocks of keys), the first two "
            "may be 1");
  EXPECT_EQ(complaint(blocks({nullptr, DType::kBool, {1, 1, 2, 3}, {}}, 10, 10)),
            "blocks: layout: no data for shape (1, 1, 2, 3)");
  EXPECT_EQ(complaint(bigbird({0, 3, 2, 3, 0})), "bigbird: block is 0; expected 1 to 2147483584");
  EXPECT_EQ(complaint(bigbird({64, 3, 2, -3, 0})),
            "bigbird: random is -3; expected 0 to 2147483584");
  // Also within an expression.
  EXPECT_EQ(complaint(causal() | ~tree({-2})),
            "tree: the parent of node 0 is -2; expected an earlier node, or -1");
}

}  // namespace
}  // namespace regard
