// SPDX-License-Identifier: Apache-2.0
// Rows of a decoder's cache change places, as hypotheses of a beam search do.
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "regard/nn/multihead_attention.h"

namespace regard::nn {
namespace {

KeyValueCache filled_cache(std::int64_t rows, std::int64_t length, std::int64_t max_length) {
  KeyValueCache cache;
  cache.room = {torch::randn({rows, max_length, 2, 8}), torch::randn({rows, max_length, 2, 8})};
  cache.length = length;
  return cache;
}

void expect_same(const KeyValues& a, const KeyValues& b) {
  EXPECT_TRUE(a.keys.equal(b.keys));
  EXPECT_TRUE(a.values.equal(b.values));
}

TEST(KeyValueCache, RowsAreThoseThatWereAskedFor) {
  torch::manual_seed(0);
  KeyValueCache cache = filled_cache(3, 4, 9);
  // More rows, as many, fewer, and none at all.
  for (const std::vector<std::int64_t>& rows : std::vector<std::vector<std::int64_t>>{
           {2, 0, 0, 1, 2, 2}, {5, 4, 3, 2, 1, 0}, {1, 1, 3}, {0, 2, 1}, {2}, {}}) {
    const torch::Tensor chosen = torch::tensor(rows, torch::kInt64);
    const KeyValues expected = cache.filled().select(chosen);
    cache.reorder(chosen);
    EXPECT_EQ(cache.room.keys.size(0), chosen.size(0));
    EXPECT_EQ(cache.max_length(), 9);
    expect_same(cache.filled(), expected);
  }
}

TEST(KeyValueCache, RoomIsUsedInTurns) {
  KeyValueCache cache = filled_cache(4, 2, 5);
  const void* first = cache.room.keys.data_ptr();
  const torch::Tensor rows = torch::tensor({3, 3, 0, 1}, torch::kInt64);
  cache.reorder(rows);
  const void* second = cache.room.keys.data_ptr();
  EXPECT_NE(first, second);
  cache.reorder(rows);
  EXPECT_EQ(cache.room.keys.data_ptr(), first);
  cache.reorder(rows);
  EXPECT_EQ(cache.room.keys.data_ptr(), second);
}

TEST(KeyValueCache, RoomOfAnyStridesAndTypes) {
  torch::manual_seed(1);
  KeyValueCache cache;
  cache.room = {torch::randn({3, 2, 6, 8}).transpose(1, 2).to(torch::kBFloat16),
                torch::randn({3, 2, 6, 8}).transpose(1, 2)};
  cache.length = 5;
  const torch::Tensor rows = torch::tensor({2, 1, 1}, torch::kInt64);
  const KeyValues expected = cache.filled().select(rows);
  cache.reorder(rows);
  expect_same(cache.filled(), expected);
}

TEST(KeyValueCache, RowsThatAreNotThereAreRefused) {
  KeyValueCache cache = filled_cache(3, 4, 9);
  const KeyValues before = {cache.room.keys.clone(), cache.room.values.clone()};
  EXPECT_THROW(cache.reorder(torch::tensor({0, 3}, torch::kInt64)), std::invalid_argument);
  EXPECT_THROW(cache.reorder(torch::tensor({-1}, torch::kInt64)), std::invalid_argument);
  EXPECT_THROW(cache.reorder(torch::tensor({0, 1}, torch::kInt32)), std::invalid_argument);
  EXPECT_THROW(cache.reorder(torch::zeros({1, 2}, torch::kInt64)), std::invalid_argument);
  expect_same(cache.room, before);
}

}  // namespace
}  // namespace regard::nn
