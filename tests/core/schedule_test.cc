// SPDX-License-Identifier: Apache-2.0
// How passes are cut into work items: everything is covered once, and workers can finish together.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "core/kernels/backward/backward_visits.h"
#include "core/plan/layout.h"
#include "core/schedule/backward_items.h"
#include "core/schedule/forward_items.h"

namespace regard {
namespace {

struct Cut {
  plan::Layout layout;
  kernels::ForwardTask task;

  Cut(const Mask& mask, std::int64_t batch, std::int64_t heads, std::int64_t heads_kv,
      std::int64_t n) {
    const Status status = layout.build(mask, {batch, heads, n, n});
    EXPECT_TRUE(status.ok()) << status.message();
    task.inputs.q.shape = {batch, heads, n, 64};
    task.inputs.k.shape = task.inputs.v.shape = {batch, heads_kv, n, 64};
    task.group = heads / heads_kv;
    task.layout = &layout;
    schedule::cut_forward(task);
  }
  // Keys that the rows of an item see, over all its rows' units.
  std::int64_t cost(const kernels::ForwardItem& item) const {
    std::int64_t keys = 0;
    for (std::int32_t h = item.head_begin; h < item.head_end; ++h) {
      for (std::int64_t u = item.unit_begin; u < item.unit_end; ++u) {
        for (const plan::Interval& interval :
             layout.unit(static_cast<std::size_t>(item.sequence), h, u))
          keys += interval.end - interval.begin;
      }
    }
    return keys;
  }
  // What the busiest of `workers` is given, over the mean: items are taken in order by whoever is
  // free.
  double imbalance(std::size_t workers) const {
    std::vector<double> busy(workers, 0);
    for (const kernels::ForwardItem& item : task.items)
      *std::min_element(busy.begin(), busy.end()) += static_cast<double>(cost(item));
    double sum = 0;
    for (const double b : busy) sum += b;
    return *std::max_element(busy.begin(), busy.end()) * static_cast<double>(workers) / sum;
  }
};

TEST(ScheduleTest, ForwardItemsCoverEveryUnitOfEveryHeadOnce) {
  const std::vector<std::int64_t> tokens{3, 700, 1999};
  for (const Mask& mask : {Mask(), causal(), window(64, 0), window(64, 64) | global_tokens(tokens),
                           documents({0, 5, 900, 2000}, {0, 5, 900, 2000})}) {
    const Cut cut(mask, 2, 6, 2, 2000);
    std::map<std::vector<std::int64_t>, int> seen;
    for (const kernels::ForwardItem& item : cut.task.items) {
      EXPECT_EQ(item.head_begin / cut.task.group, item.kv_head);
      EXPECT_EQ((item.head_end - 1) / cut.task.group, item.kv_head);
      for (std::int32_t h = item.head_begin; h < item.head_end; ++h) {
        for (std::int64_t u = item.unit_begin; u < item.unit_end; ++u)
          ++seen[{item.sequence, h, u}];
      }
    }
    std::size_t expected = 0;
    for (std::size_t s = 0; s < cut.layout.sequences.size(); ++s)
      expected += 6 * static_cast<std::size_t>(cut.layout.units(s));
    EXPECT_EQ(seen.size(), expected);
    for (const auto& [unit, times] : seen) EXPECT_EQ(times, 1);
  }
}

// Rows that see all keys beside rows that see few: in the order of rows a worker would meet them
// last, alone.
TEST(ScheduleTest, RowsThatSeeFarMoreComeFirst) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t t = 0; t < 16; ++t) tokens.push_back(t);
  const Cut cut(window(128, 128) | global_tokens(tokens), 1, 1, 1, 16384);
  for (const kernels::ForwardItem& item : cut.task.items)
    EXPECT_LE(cut.cost(item), cut.cost(cut.task.items.front()));
  EXPECT_LE(cut.task.items.front().unit_end, 2);
  EXPECT_LT(cut.imbalance(2), 1.05);
  EXPECT_LT(cut.imbalance(4), 1.15);
}

TEST(ScheduleTest, LongHeadsAreSharedEvenly) {
  for (const Mask& mask : {Mask(), causal(), window(255, 0)}) {
    for (const std::int64_t heads : {1, 8}) {
      const Cut cut(mask, 1, heads, heads, 8192);
      EXPECT_LT(cut.imbalance(2), 1.04) << heads << " heads";
    }
  }
}

// The key blocks of the backward pass, whole multiples of what tiles divide.
TEST(ScheduleTest, KeyBlocksAreEvenInNumberAndSize) {
  for (const std::int64_t dim : {32, 128, 200, 512}) {
    for (std::int64_t keys = 1; keys < 40000; keys = keys * 5 / 4 + 1) {
      const std::int64_t size = kernels::block_keys(dim, dim, keys),
                         most = kernels::most_block_keys(dim, dim);
      EXPECT_LE(size, most);
      EXPECT_EQ(size % plan::kRowUnit, 0);
      if (keys <= most) {
        EXPECT_EQ(size, most);  // one block
        continue;
      }
      const std::int64_t blocks = (keys + size - 1) / size;
      EXPECT_TRUE(blocks % 2 == 0 || blocks > 32) << keys << " keys, dim " << dim;
      EXPECT_GE(keys - (blocks - 1) * size, size - blocks * plan::kRowUnit)
          << "the last block is no smaller than rounding makes it";
    }
  }
}

// Each chunk that sees a block comes once; first those that the next block sees too, downwards.
TEST(ScheduleTest, ChunksOfABlockComeInOrder) {
  using kernels::ChunkOrder;
  const auto chunks = [](ChunkOrder order) {
    std::vector<std::int64_t> all;
    for (std::int64_t chunk = order.first(); chunk != ChunkOrder::kNone && all.size() < 20;
         chunk = order.after(chunk))
      all.push_back(chunk);
    return all;
  };
  using Order = std::vector<std::int64_t>;
  EXPECT_EQ(chunks({{2, 6}, {0, 0}}), (Order{5, 4, 3, 2})) << "no next block";
  EXPECT_EQ(chunks({{2, 6}, {4, 9}}), (Order{5, 4, 3, 2})) << "a window";
  EXPECT_EQ(chunks({{2, 6}, {1, 4}}), (Order{3, 2, 4, 5})) << "a next block that ends earlier";
  EXPECT_EQ(chunks({{2, 6}, {0, 2}}), (Order{2, 3, 4, 5})) << "nothing in common";
  EXPECT_EQ(chunks({{2, 3}, {2, 3}}), (Order{2}));
  EXPECT_EQ(chunks({{0, 0}, {0, 0}}), Order{}) << "nobody sees it";
}

}  // namespace
}  // namespace regard
