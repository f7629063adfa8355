// SPDX-License-Identifier: Apache-2.0
// Caches: what is appended is what is attended to, whatever lies where. The oracle attends to the
// rows that the test itself has kept; int8 is compared with the numbers that it stands for.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "regard/cache.h"
#include "tests/core/support/error_bar.h"
#include "tests/core/support/executors.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

using Lengths = std::vector<std::int64_t>;

struct Attended {
  Tensor out, lse;
  Status status;
};

// One sequence's keys as the oracle sees them.
struct Kept {
  Tensor k, v;
};

// What a cache of `dtype` holds of a row.
double cached(const Tensor& rows, DType dtype, std::int64_t b, std::int64_t h, std::int64_t j,
              std::int64_t d) {
  if (dtype != DType::kInt8) return round_to(dtype, rows.at(b, h, j, d));
  float most = 0;
  for (std::int64_t c = 0; c < rows.shape()[3]; ++c)
    most = std::max(most, std::abs(static_cast<float>(rows.at(b, h, j, c))));
  const float scale = most / 127.0f;
  if (scale == 0) return 0;
  const float inverse = 1.0f / scale;
  return static_cast<double>(std::nearbyint(static_cast<float>(rows.at(b, h, j, d)) * inverse)) *
         static_cast<double>(scale);
}

Tensor joined(const Tensor& before, const Tensor& rows, DType dtype, std::int64_t b,
              std::int64_t n) {
  const std::int64_t old = before.given() ? before.shape()[2] : 0;
  // Float, so that numbers of int8 times their scales are kept.
  Tensor all(kF32, {1, rows.shape()[1], old + n, rows.shape()[3]});
  for_each_index(all.shape(), [&](auto, auto h, auto j, auto d) {
    all.set(0, h, j, d, j < old ? before.at(0, h, j, d) : cached(rows, dtype, b, h, j - old, d));
  });
  return all;
}

// The attention of one sequence's queries, as the oracle is asked.
std::string errors_of_sequence(const Tensor& q, const Kept& kept, const Rule& rule,
                               const Tensor& out, const Tensor& lse) {
  Problem p;
  p.q = q;
  p.k = kept.k;
  p.v = kept.v;
  p.rule = rule;
  // The bar is that of the queries' dtype: keys are kept as floats here.
  p.k = p.k.as(kF32);
  Results r;
  r.out = out;
  r.lse = lse;
  return errors_of(p, r, score_size(p));
}

class Cache : public ::testing::TestWithParam<DType> {};

Attended attend_all(const Tensor& q, const CacheView& cache, const Options& options,
                    const Executor& executor, const Lengths& cu_q = {}) {
  Attended a;
  const Shape& s = q.shape();
  a.out = Tensor(q.dtype(), {s[0], s[1], s[2], cache.v.shape[3]});
  a.lse = Tensor(kF32, {s[0], s[1], s[2], 1});
  a.status = attend(q.view(), cache, options, {a.out.mutable_view(), {}, {}, a.lse.mutable_view()},
                    executor, cu_q);
  return a;
}

DType query_dtype(DType cache) { return cache == DType::kInt8 ? kF32 : cache; }

TEST_P(Cache, WhatIsAppendedIsAttendedTo) {
  Random random(1);
  const std::int64_t batch = 3, heads = 2, dim = 32, dim_v = 48;
  KVCache cache;
  ASSERT_TRUE(KVCache::make({batch, heads, 400, dim, dim_v, GetParam(), GetParam()}, &cache).ok());
  std::vector<Kept> kept(batch);
  for (const std::int64_t step : {70, 1, 1, 150, 3, 1}) {
    Tensor k(kF32, {batch, heads, step, dim}), v(kF32, {batch, heads, step, dim_v});
    k.fill_normal(random);
    v.fill_normal(random);
    const Lengths counts{step, step / 2, step == 3 ? 1 : step};
    ASSERT_TRUE(cache.append(k.view(), v.view(), counts).ok());
    for (std::size_t b = 0; b < kept.size(); ++b) {
      const auto entry = static_cast<std::int64_t>(b);
      kept[b].k = joined(kept[b].k, k, GetParam(), entry, counts[b]);
      kept[b].v = joined(kept[b].v, v, GetParam(), entry, counts[b]);
    }
    for (const std::int64_t len_q : {1, 5, 20}) {
      Tensor q(query_dtype(GetParam()), {batch, heads * 2, len_q, dim});
      q.fill_normal(random);
      Options options;
      options.mask = causal();
      const Attended a = attend_all(q, cache.view(), options, ThreadExecutor(2));
      ASSERT_TRUE(a.status.ok()) << a.status.message();
      for (std::int64_t b = 0; b < batch; ++b) {
        EXPECT_EQ(errors_of_sequence(q.slice(0, b, 1), kept[static_cast<std::size_t>(b)],
                                     see_causal(), a.out.slice(0, b, 1), a.lse.slice(0, b, 1)),
                  "")
            << "sequence " << b << ", " << len_q << " queries, "
            << cache.lengths()[static_cast<std::size_t>(b)] << " keys";
      }
    }
  }
}

// Pages in any order, of any size: the bits of a dense cache.
TEST_P(Cache, PagesChangeNoBit) {
  Random random(2);
  const std::int64_t heads = 2, dim = 24, dim_v = 32;
  const Lengths lengths{700, 0, 33, 16, 1};
  for (const std::int64_t page_size : {16, 17, 64, 256}) {
    KVCache dense;
    PagedCache paged;
    ASSERT_TRUE(KVCache::make({5, heads, 700, dim, dim_v, GetParam(), GetParam()}, &dense).ok());
    ASSERT_TRUE(
        PagedCache::make({100, page_size, heads, dim, dim_v, GetParam(), GetParam()}, &paged).ok());
    Lengths sequences;
    for (std::size_t b = 0; b < lengths.size(); ++b) sequences.push_back(paged.add());
    // A few rows at a time, so that pages of sequences alternate.
    for (std::int64_t done = 0; done < 700; done += 50) {
      Tensor k(kF32, {5, heads, 50, dim}), v(kF32, {5, heads, 50, dim_v});
      k.fill_normal(random);
      v.fill_normal(random);
      Lengths counts;
      for (const std::int64_t length : lengths)
        counts.push_back(std::clamp<std::int64_t>(length - done, 0, 50));
      ASSERT_TRUE(dense.append(k.view(), v.view(), counts).ok());
      ASSERT_TRUE(paged.append(sequences, k.view(), v.view(), counts).ok());
    }
    for (const std::int64_t len_q : {1, 3, 30}) {
      Tensor q(query_dtype(GetParam()), {5, heads * 3, len_q, dim});
      q.fill_normal(random);
      for (const Mask& mask : {Mask(), causal(), causal() & window(100, 0)}) {
        Options options;
        options.mask = mask;
        const Attended expected = attend_all(q, dense.view(), options, serial_executor());
        ASSERT_TRUE(expected.status.ok()) << expected.status.message();
        Attended a = expected;
        ASSERT_TRUE(paged
                        .attend(sequences, q.view(), options,
                                {a.out.mutable_view(), {}, {}, a.lse.mutable_view()},
                                ThreadExecutor(3))
                        .ok());
        EXPECT_TRUE(same_bits(expected.out, a.out)) << page_size << ", " << len_q << " queries";
        EXPECT_TRUE(same_bits(expected.lse, a.lse)) << page_size << ", " << len_q << " queries";
      }
    }
  }
}

// A cache of the queries' own dtype is a tensor with another name.
TEST(CacheBits, ADenseCacheGivesTheBitsOfForward) {
  Random random(3);
  for (const DType dtype : {kF32, kBf16, kF16}) {
    for (const std::int64_t len_q : {1, 33}) {
      const Problem p = random_problem(random, dtype, {2, 2, 3, len_q, 500, 64, 64});
      KVCache cache;
      ASSERT_TRUE(KVCache::make({2, 2, 600, 64, 64, dtype, dtype}, &cache).ok());
      ASSERT_TRUE(cache.append(p.k.view(), p.v.view()).ok());
      Request request;
      request.statistics = false;
      const Results expected = run(p, serial_executor(), request);
      const Attended a = attend_all(p.q, cache.view(), {}, ThreadExecutor(2));
      ASSERT_TRUE(a.status.ok()) << a.status.message();
      EXPECT_TRUE(same_bits(expected.out, a.out)) << name_of(dtype) << ", " << len_q;
      EXPECT_TRUE(same_bits(expected.lse, a.lse)) << name_of(dtype) << ", " << len_q;
    }
  }
}

// Queries side by side, as many of each sequence as there are: each sequence as if alone.
TEST_P(Cache, PackedQueriesAreTheirSequencesAlone) {
  Random random(4);
  const std::int64_t heads = 2, dim = 32;
  KVCache cache;
  ASSERT_TRUE(KVCache::make({4, heads, 300, dim, dim, GetParam(), GetParam()}, &cache).ok());
  Tensor k(kF32, {4, heads, 300, dim}), v(kF32, {4, heads, 300, dim});
  k.fill_normal(random);
  v.fill_normal(random);
  ASSERT_TRUE(cache.append(k.view(), v.view(), Lengths{300, 40, 0, 170}).ok());
  const Lengths cu_q{0, 1, 41, 41, 45};
  Tensor q(query_dtype(GetParam()), {1, heads * 2, 45, dim});
  q.fill_normal(random);
  Options options;
  options.mask = causal() & window(120, 0);
  const Attended all = attend_all(q, cache.view(), options, ThreadExecutor(2), cu_q);
  ASSERT_TRUE(all.status.ok()) << all.status.message();
  for (std::int64_t b = 0; b < 4; ++b) {
    const auto at = static_cast<std::size_t>(b);
    if (cu_q[at] == cu_q[at + 1]) continue;
    CacheView one = cache.view();
    const std::int64_t length = one.lengths[at];
    const auto slot = static_cast<std::int32_t>(b);
    one.table = &slot;
    one.table_stride = 1;
    one.lengths = {&length, 1};
    const Tensor own = q.slice(2, cu_q[at], cu_q[at + 1] - cu_q[at]);
    const Attended alone = attend_all(own, one, options, serial_executor());
    ASSERT_TRUE(alone.status.ok()) << alone.status.message();
    EXPECT_TRUE(same_bits(all.out.slice(2, cu_q[at], cu_q[at + 1] - cu_q[at]), alone.out)) << b;
    EXPECT_TRUE(same_bits(all.lse.slice(2, cu_q[at], cu_q[at + 1] - cu_q[at]), alone.lse)) << b;
  }
}

// Queries of bfloat16 over bfloat16 and int8, where so many share keys that a matrix unit
// multiplies them, and where they do not: tails of blocks, pages that end within a tile, hidden
// NaN.
TEST(CacheOfPairs, QueriesThatShareKeys) {
  Random random(8);
  const std::int64_t dim = 96, dim_v = 64, most = 700;
  const Lengths lengths{700, 1, 40, 16, 65};
  const auto batch = static_cast<std::int64_t>(lengths.size());
  for (const auto [dtype, dtype_v] :
       {std::pair{kBf16, kBf16}, {DType::kInt8, DType::kInt8}, {kBf16, DType::kInt8}}) {
    Tensor k(kBf16, {batch, 1, most, dim}), v(kBf16, {batch, 1, most, dim_v});
    k.fill_normal(random);
    v.fill_normal(random);
    const bool poison = dtype_v == kBf16;  // a row that a window hides
    for (std::int64_t c = 0; poison && c < dim_v; c += 3) v.set(0, 0, 300, c, std::nan(""));
    KVCache dense;
    PagedCache paged;
    ASSERT_TRUE(KVCache::make({batch, 1, most, dim, dim_v, dtype, dtype_v}, &dense).ok());
    ASSERT_TRUE(PagedCache::make({60, 17, 1, dim, dim_v, dtype, dtype_v}, &paged).ok());
    Lengths sequences;
    for (std::int64_t b = 0; b < batch; ++b) sequences.push_back(paged.add());
    ASSERT_TRUE(dense.append(k.view(), v.view(), lengths).ok());
    ASSERT_TRUE(paged.append(sequences, k.view(), v.view(), lengths).ok());
    for (const std::int64_t group : {1, 5, 8, 20}) {
      for (const std::int64_t len_q : {1, 3}) {
        Tensor q(kBf16, {batch, group, len_q, dim});
        q.fill_normal(random);
        Options options;
        options.mask = causal() & window(350, 0);
        const Attended a = attend_all(q, dense.view(), options, ThreadExecutor(2));
        ASSERT_TRUE(a.status.ok()) << a.status.message();
        for (std::int64_t b = 0; b < batch; ++b) {
          const std::int64_t n = lengths[static_cast<std::size_t>(b)];
          const Kept kept{joined({}, k, dtype, b, n), joined({}, v, dtype_v, b, n)};
          EXPECT_EQ(errors_of_sequence(q.slice(0, b, 1), kept, see_window(350, 0),
                                       a.out.slice(0, b, 1), a.lse.slice(0, b, 1)),
                    "")
              << name_of(dtype) << ", group " << group << ", " << len_q << " queries, " << n;
        }
        Attended other = a;
        ASSERT_TRUE(paged
                        .attend(sequences, q.view(), options,
                                {other.out.mutable_view(), {}, {}, other.lse.mutable_view()},
                                serial_executor())
                        .ok());
        EXPECT_TRUE(same_bits(a.out, other.out)) << group;
        EXPECT_TRUE(same_bits(a.lse, other.lse)) << group;
      }
    }
  }
}

// Modifiers count each sequence's own positions.
TEST_P(Cache, ModifiersCountInTheirSequence) {
  Random random(5);
  const std::int64_t heads = 2, dim = 16;
  const Lengths lengths{200, 90};
  KVCache cache;
  ASSERT_TRUE(KVCache::make({2, heads, 200, dim, dim, GetParam(), GetParam()}, &cache).ok());
  Tensor k(kF32, {2, heads, 200, dim}), v(kF32, {2, heads, 200, dim});
  k.fill_normal(random);
  v.fill_normal(random);
  ASSERT_TRUE(cache.append(k.view(), v.view(), lengths).ok());
  Tensor q(query_dtype(GetParam()), {2, heads, 2, dim}), slopes(kF32, {1, heads, 1, 1}),
      sinks(kF32, {1, heads, 1, 2}), bias(kF32, {1, heads, 2, 200});
  for (Tensor* tensor : {&q, &slopes, &sinks, &bias}) tensor->fill_normal(random);
  // Small slopes: scores of hundreds would round by more than all else.
  slopes.fill_normal(random, 0.02);
  Options options;
  options.mask = causal();
  options.modifiers = {Alibi{slopes.view()}, Sinks{sinks.view()}, Bias{bias.view()}, Softcap{4}};
  const Attended a = attend_all(q, cache.view(), options, serial_executor());
  ASSERT_TRUE(a.status.ok()) << a.status.message();
  for (std::int64_t b = 0; b < 2; ++b) {
    const std::int64_t n = lengths[static_cast<std::size_t>(b)];
    Problem p;
    p.q = q.slice(0, b, 1);
    p.k = joined({}, k, GetParam(), b, n);
    p.v = joined({}, v, GetParam(), b, n);
    p.rule = see_causal();
    p.softcap = 4;
    p.extras.which = kAlibi | kSinks;
    p.extras.slopes = slopes;
    p.extras.sinks = sinks;
    p.biases.push_back({bias.slice(3, 0, n), false});
    Results r;
    r.out = a.out.slice(0, b, 1);
    r.lse = a.lse.slice(0, b, 1);
    EXPECT_EQ(errors_of(p, r, score_size(p)), "") << "sequence " << b;
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, Cache, ::testing::Values(kF32, kBf16, kF16, DType::kInt8),
                         [](const auto& info) { return name_of(info.param); });

TEST(CacheRoom, AFullCacheSaysSoAndLosesNothing) {
  KVCache cache;
  ASSERT_TRUE(KVCache::make({2, 1, 10, 8, 8, kF32, kF32}, &cache).ok());
  Tensor rows(kF32, {2, 1, 6, 8});
  rows.fill(1);
  ASSERT_TRUE(cache.append(rows.view(), rows.view()).ok());
  Tensor other(kF32, {2, 1, 6, 8});
  other.fill(2);
  const Status status = cache.append(other.view(), other.view(), Lengths{4, 5});
  EXPECT_EQ(status.code(), StatusCode::kFull);
  EXPECT_EQ(status.message(), "cache: sequence 1 has 6 of 10 rows; 5 more do not fit");
  EXPECT_EQ(cache.lengths()[0], 6);
  ASSERT_TRUE(cache.append(other.view(), other.view(), Lengths{4, 4}).ok());
  ASSERT_TRUE(cache.truncate(1, 0).ok());
  EXPECT_FALSE(cache.truncate(1, 1).ok());
  EXPECT_EQ(cache.lengths()[0], 10);
}

TEST(CacheRoom, PagesAreSharedCopiedAndGivenBack) {
  PageTable table;
  ASSERT_TRUE(PageTable::make(6, 16, &table).ok());
  std::vector<PageTable::Copy> copies;
  const std::int64_t a = table.add();
  ASSERT_TRUE(table.reserve(Lengths{a}, Lengths{40}, &copies).ok());
  EXPECT_EQ(table.free_pages(), 3);
  std::int64_t b = -1;
  ASSERT_TRUE(table.fork(a, 35, &b).ok());
  EXPECT_EQ(table.free_pages(), 3);
  EXPECT_EQ(table.pages_of(a), table.pages_of(b));
  // The shared third page is copied before b writes to it; the first two stay shared.
  ASSERT_TRUE(table.reserve(Lengths{b}, Lengths{1}, &copies).ok());
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, table.pages_of(a)[2]);
  EXPECT_EQ(copies[0].to, table.pages_of(b)[2]);
  EXPECT_EQ(table.free_pages(), 2);
  // More than is free: nothing changes.
  EXPECT_EQ(table.reserve(Lengths{a, b}, Lengths{40, 20}, &copies).code(), StatusCode::kFull);
  EXPECT_EQ(table.length(a), 40);
  EXPECT_EQ(table.free_pages(), 2);
  ASSERT_TRUE(table.free(a).ok());
  EXPECT_EQ(table.free_pages(), 3);
  EXPECT_FALSE(table.free(a).ok());
  ASSERT_TRUE(table.free(b).ok());
  EXPECT_EQ(table.free_pages(), 6);
}

TEST(CacheRoom, AForkGoesItsOwnWay) {
  Random random(6);
  PagedCache cache;
  ASSERT_TRUE(PagedCache::make({8, 16, 1, 8, 8, kF32, kF32}, &cache).ok());
  Tensor first(kF32, {1, 1, 20, 8}), more(kF32, {2, 1, 5, 8}), q(kF32, {2, 1, 1, 8});
  for (Tensor* tensor : {&first, &more, &q}) tensor->fill_normal(random);
  const std::int64_t a = cache.add();
  ASSERT_TRUE(cache.append(Lengths{a}, first.view(), first.view()).ok());
  std::int64_t b = -1;
  ASSERT_TRUE(cache.fork(a, 20, &b).ok());
  ASSERT_TRUE(cache.append(Lengths{a, b}, more.view(), more.view()).ok());
  Tensor out(kF32, {2, 1, 1, 8});
  ASSERT_TRUE(
      cache.attend(Lengths{a, b}, q.view(), {}, {out.mutable_view(), {}, {}, {}}, serial_executor())
          .ok());
  for (std::int64_t n = 0; n < 2; ++n) {
    Problem p;
    p.q = q.slice(0, n, 1);
    p.k = p.v = joined(joined({}, first, kF32, 0, 20), more, kF32, n, 5);
    Results r;
    r.out = out.slice(0, n, 1);
    EXPECT_EQ(errors_of(p, r), "") << n;
  }
  ASSERT_TRUE(cache.free(a).ok());
  const Status gone =
      cache.attend(Lengths{a}, q.slice(0, 0, 1).view(), {}, {out.mutable_view(), {}, {}, {}});
  EXPECT_FALSE(gone.ok());
}

TEST(CacheErrors, SayWhichArgument) {
  KVCache cache;
  EXPECT_EQ(KVCache::make({1, 1, 8, 600, 8, kF32, kF32}, &cache).message(),
            "cache: dim is 600; expected 1 to 512");
  EXPECT_EQ(KVCache::make({1, 1, 8, 8, 8, kF64, kF32}, &cache).message(),
            "k_dtype: dtype float64; expected float32, bfloat16, float16 or int8");
  PageTable table;
  EXPECT_EQ(PageTable::make(4, 8, &table).message(), "page_size: 8; expected 16 to 2147483584");
  ASSERT_TRUE(KVCache::make({1, 2, 8, 16, 16, kF32, kF32}, &cache).ok());
  Tensor rows(kF32, {1, 1, 3, 16});
  EXPECT_NE(cache.append(rows.view(), rows.view()).message().find("key: shape (1, 1, 3, 16)"),
            std::string::npos);
  Tensor q(kF32, {1, 3, 1, 16});
  const Attended a = attend_all(q, cache.view(), {}, serial_executor());
  EXPECT_NE(a.status.message().find("which must be a multiple"), std::string::npos)
      << a.status.message();
  CacheView broken = cache.view();
  const std::int32_t slot = 3;
  const std::int64_t length = 2;
  broken.table = &slot;
  broken.table_stride = 1;
  broken.lengths = {&length, 1};
  Tensor right(kF32, {1, 2, 1, 16});
  EXPECT_EQ(attend_all(right, broken, {}, serial_executor()).status.message(),
            "block_table: entry 0 of sequence 0 is 3; expected 0 to 0, the pages there are");
}

}  // namespace
}  // namespace regard::testing
