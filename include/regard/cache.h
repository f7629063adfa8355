// SPDX-License-Identifier: Apache-2.0
// Keys and values that grow as text is generated, and attention over them.
//
//   KVCache cache;
//   KVCache::make({.sequences = 8, .heads_kv = 4, .capacity = 8192, .dim = 128, .dim_v = 128,
//                  .k_dtype = DType::kBFloat16, .v_dtype = DType::kBFloat16}, &cache);
//   cache.append(k, v);                                         // the new tokens' keys and values
//   attend(q, cache.view(), options, outputs);                  // one query, or a few
//
// A sequence's last query stands at its last key: causal(), window() and Alibi count from each
// sequence's own length. Caches carry no gradient.
//
// Sequences with at most 4 queries, and at least four keys for each, or with at most 16 queries and
// at least 2,048 keys, take the decode pass: keys and values are read once, as they lie, by all
// query heads that share them. The others take the pass that forward() takes for long sequences.
// Which one depends on a sequence's two lengths alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "regard/attention.h"
#include "regard/executor.h"
#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// Cached keys and values, in memory of the caller's. A slot holds the rows of a sequence, or is a
// page of one.
template <typename View>
struct BasicCacheView {
  // k (slots, heads_kv, rows, dim), v (slots, heads_kv, rows, dim_v): float32, bfloat16, float16 or
  // int8, each of its own dtype.
  View k, v;
  // Where int8: the number that an element of a row is multiplied by, (slots, heads_kv, rows, 1),
  // float32. Symmetric: a row x becomes round(127 x / max|x|) and max|x| / 127.
  View k_scale = {}, v_scale = {};
  // Row j of sequence b is row j % rows of slot table[b * table_stride + j / rows]. Without a
  // table, row j of slot b.
  const std::int32_t* table = nullptr;
  std::int64_t table_stride = 0;  // entries of each sequence
  // Keys of each sequence: attend() reads that many rows, append() writes behind them.
  std::span<const std::int64_t> lengths;
};
using CacheView = BasicCacheView<TensorView>;
using MutableCacheView = BasicCacheView<MutableTensorView>;

CacheView as_const(const MutableCacheView& view);

// Attention of q (batch, heads_q, len_q, dim), one batch entry for each of cache.lengths, over the
// cached keys; float32, bfloat16 or float16, whatever the cache's dtypes. With `cu_q` (batch + 1
// numbers from 0 on), q is packed instead, (1, heads_q, total, dim), and rows [cu_q[b], cu_q[b +
// 1]) are sequence b's. Options as for forward(), but for additive scores, documents() and a part;
// masks and tensors count keys up to the longest of the sequences. Outputs as forward() writes
// them.
Status attend(const TensorView& q, const CacheView& cache, const Options& options,
              const Outputs& outputs, const Executor& executor = default_executor(),
              std::span<const std::int64_t> cu_q = {});

// Writes rows behind cache.lengths: k (batch, heads_kv, n, dim) and v (batch, heads_kv, n, dim_v),
// float32, bfloat16 or float16; of entry b only the first counts[b], or all n without `counts`.
// Narrower caches round to nearest even; int8 takes a scale from each row. The lengths are the
// caller's to move on. Where some row does not fit the status says so, and nothing is written.
Status append(const TensorView& k, const TensorView& v, const MutableCacheView& cache,
              std::span<const std::int64_t> counts = {});

struct CacheShape {
  std::int64_t sequences = 1, heads_kv = 1;
  std::int64_t capacity = 0;  // rows of each sequence
  std::int64_t dim = 0, dim_v = 0;
  DType k_dtype = DType::kFloat32, v_dtype = DType::kFloat32;
};

// A dense cache: room for `capacity` rows of every sequence, in memory of its own.
class KVCache {
 public:
  static Status make(const CacheShape& shape, KVCache* cache);

  // As append() above, and the lengths move on.
  Status append(const TensorView& k, const TensorView& v,
                std::span<const std::int64_t> counts = {});
  // Forgets the rows of a sequence from `length` on (drafted tokens that were refused; 0: all).
  Status truncate(std::int64_t sequence, std::int64_t length);

  const CacheShape& shape() const { return shape_; }
  std::span<const std::int64_t> lengths() const { return lengths_; }
  CacheView view() const;

 private:
  MutableCacheView mutable_view() const;

  CacheShape shape_;
  std::vector<std::int64_t> lengths_;
  std::shared_ptr<std::byte> memory_;
};

// Which pages hold the rows of which sequence. Pages are counted, so that sequences which begin
// alike share them; a page that is shared is copied before it is written. Knows no memory: a cache
// of any kind can be kept by it.
class PageTable {
 public:
  static Status make(std::int64_t pages, std::int64_t page_size, PageTable* table);

  // A new sequence without rows. Numbers of freed sequences are given again.
  std::int64_t add();
  // A new sequence that begins with the first `length` rows of another, whose pages it shares.
  Status fork(std::int64_t sequence, std::int64_t length, std::int64_t* made);
  // Gives back the pages that nobody else holds.
  Status free(std::int64_t sequence);
  // Forgets rows from `length` on.
  Status truncate(std::int64_t sequence, std::int64_t length);

  // A page whose rows must be copied before the append that was asked for.
  struct Copy {
    std::int32_t from, to;
  };
  // Makes room for counts[n] rows behind sequences[n], and moves their lengths on: all of them, or,
  // where pages are short, none, and the status says how many are missing.
  Status reserve(std::span<const std::int64_t> sequences, std::span<const std::int64_t> counts,
                 std::vector<Copy>* copies);

  std::int64_t pages() const { return static_cast<std::int64_t>(uses_.size()); }
  std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }
  std::int64_t page_size() const { return page_size_; }
  bool has(std::int64_t sequence) const;
  std::int64_t length(std::int64_t sequence) const;                        // of one that is there
  const std::vector<std::int32_t>& pages_of(std::int64_t sequence) const;  // likewise
  // The rows of a block table for these sequences, filled up with 0, `width` entries each.
  void write_table(std::span<const std::int64_t> sequences, std::int32_t* to,
                   std::int64_t width) const;
  // Pages of the longest of these sequences.
  std::int64_t width(std::span<const std::int64_t> sequences) const;

 private:
  struct Sequence {
    bool used = false;
    std::int64_t length = 0;
    std::vector<std::int32_t> pages;
  };
  Status check(std::int64_t sequence) const;
  void drop(std::int32_t page);

  std::int64_t page_size_ = 0;
  std::vector<std::int32_t> uses_, free_;
  std::vector<Sequence> sequences_;
  std::vector<std::int64_t> free_sequences_;
};

struct PagedShape {
  std::int64_t pages = 0, page_size = 64;  // page_size: at least 16
  std::int64_t heads_kv = 1, dim = 0, dim_v = 0;
  DType k_dtype = DType::kFloat32, v_dtype = DType::kFloat32;
};

// A paged cache in memory of its own.
class PagedCache {
 public:
  static Status make(const PagedShape& shape, PagedCache* cache);

  std::int64_t add() { return pages_.add(); }
  Status fork(std::int64_t sequence, std::int64_t length, std::int64_t* made) {
    return pages_.fork(sequence, length, made);
  }
  Status free(std::int64_t sequence) { return pages_.free(sequence); }
  Status truncate(std::int64_t sequence, std::int64_t length) {
    return pages_.truncate(sequence, length);
  }
  // Rows of batch entry n go behind sequences[n], each at most once in the list. Where pages are
  // short the status says so, and nothing has changed.
  Status append(std::span<const std::int64_t> sequences, const TensorView& k, const TensorView& v,
                std::span<const std::int64_t> counts = {});
  // Batch entry n of q attends to sequences[n].
  Status attend(std::span<const std::int64_t> sequences, const TensorView& q,
                const Options& options, const Outputs& outputs,
                const Executor& executor = default_executor(),
                std::span<const std::int64_t> cu_q = {}) const;

  const PageTable& pages() const { return pages_; }
  const PagedShape& shape() const { return shape_; }

 private:
  MutableCacheView memory_view() const;

  PagedShape shape_;
  PageTable pages_;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace regard
