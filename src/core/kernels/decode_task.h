// SPDX-License-Identifier: Apache-2.0
// The decode pass as its kernel reads it: few queries of each sequence against many keys. No SIMD
// here.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/kernels/kernels.h"

namespace regard::kernels {

// Rows of keys or values: of one slot for each batch entry, or of the pages of a cache. A cache of
// int8 has a float scale for each row of each head.
struct RowSource {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;                      // float32, bfloat16, float16 or int8
  std::int64_t slot = 0, head = 0, row = 0, col = 0;  // strides in elements; slot: between pages
  const float* scales = nullptr;                      // int8 only
  std::int64_t scale_slot = 0, scale_head = 0, scale_row = 0;
};

// Which slot holds a sequence's rows: rows [p * page, (p + 1) * page) of batch entry b are in slot
// table[b * table_stride + p]. Without a table all are in slot b.
struct PageTableView {
  const std::int32_t* table = nullptr;
  std::int64_t table_stride = 0, page = 0;
};

// Parts [part_begin, part_end) of the keys of one sequence and kv head, for query heads
// [head_begin, head_end).
struct DecodeItem {
  std::int32_t sequence, kv_head, head_begin, head_end;
  std::int32_t part_begin, part_end;
  // Where several items share the parts of these heads: where their partial states lie, in rows of
  // DecodeTask::states, and how many items are still at work. Else -1.
  std::int64_t first_state = -1;
  std::int32_t countdown = -1;
};

struct DecodeTask {
  // Queries, outputs, options and the layout. Its keys and values are not looked at.
  const ForwardTask* pass = nullptr;
  std::int64_t dim = 0, dim_v = 0;
  RowSource k, v;
  PageTableView pages;
  std::vector<DecodeItem> items;
  // Partial states, [state][state_stride] floats: the output that is not divided yet, the maximum,
  // the sum.
  float* states = nullptr;
  std::size_t state_stride = 0;  // whole lines, with room for the columns in whole vectors and two
  std::atomic<std::int32_t>* countdowns = nullptr;
};

// One row of keys or values to another place, in another dtype where it must be. Of int8 the scale
// belongs to the row: written with it, or multiplied where int8 is read.
struct RowCopy {
  const void* from = nullptr;
  void* to = nullptr;
  DType from_dtype = DType::kFloat32, to_dtype = DType::kFloat32;
  std::int64_t from_col = 1, to_col = 1;  // strides between elements
  std::int64_t cols = 0;                  // at most 2048
  float* scale = nullptr;
};

struct DecodeSet {
  std::size_t (*scratch)(const DecodeTask&);
  void (*run)(const DecodeTask&, std::size_t item, std::byte* scratch);
  void (*copy_row)(const RowCopy&);
};
// Of the target that runs now (dispatch.cc): for any task; and for those that takes_matrix() says,
// null where there is no matrix unit.
const DecodeSet& decode_set();
const DecodeSet* decode_matrix_set();
const DecodeSet* decode_for(std::int64_t target);
const DecodeSet* decode_amx_bf16_for(std::int64_t target);

// Whether a matrix unit can make a task's products: of rows that are bfloat16 or become it without
// loss, in whole steps of 32 columns.
inline bool multiplies_pairs(const DecodeTask& task) {
  const auto fits = [](const RowSource& rows, std::int64_t cols) {
    const bool exact = rows.dtype == DType::kBFloat16 || rows.dtype == DType::kInt8;
    return exact && rows.col == 1 && cols > 0 && cols % 32 == 0;
  };
  return task.pass->inputs.q.dtype == DType::kBFloat16 && fits(task.k, task.dim) &&
         fits(task.v, task.dim_v);
}

// Whether it is worth it for an item: the unit takes as long for one row as for sixteen, vectors
// half as long for one; and what surrounds its products takes longer than a block of keys or two.
// Depends on the sequence and the number of heads that share keys alone.
inline bool takes_matrix(const DecodeTask& task, const DecodeItem& item) {
  constexpr std::int64_t kLeastRows = 5, kLeastKeys = 128;
  const auto& sequence = task.pass->layout->sequences[static_cast<std::size_t>(item.sequence)];
  return task.pass->group * sequence.len_q >= kLeastRows && sequence.len_k >= kLeastKeys;
}

// Rows of queries (query heads of a group, times their queries) that one item holds at most.
inline constexpr std::int64_t kDecodeRows = 64;

// The keys of a sequence are cut at multiples of this size, whose states are merged from the first
// to the last. It depends on the length alone: what a row's bits are must not depend on who shares
// the work.
inline constexpr std::int64_t decode_part_keys(std::int64_t len_k) {
  constexpr std::int64_t kLeast = 256, kParts = 64, kBlock = 64;
  const std::int64_t even = (len_k + kParts - 1) / kParts;
  return even <= kLeast ? kLeast : (even + kBlock - 1) / kBlock * kBlock;
}

// Whether a sequence of a call whose decode pass takes at most `most` queries is computed by it:
// one query always, with two to four at least four keys for each; with up to sixteen at least 2,048
// keys, where several workers can share a head. Depends on the sequence's lengths alone.
inline constexpr std::int64_t kDecodeQueries = 16;
inline constexpr bool takes_decode(std::int64_t most, std::int64_t len_q, std::int64_t len_k) {
  constexpr std::int64_t kFew = 4, kKeysEach = 4, kManyKeys = 2048;
  const std::int64_t least = len_q == 1 ? 1 : len_q <= kFew ? kKeysEach * len_q : kManyKeys;
  return len_q >= 1 && len_q <= most && len_k >= least;
}

}  // namespace regard::kernels
