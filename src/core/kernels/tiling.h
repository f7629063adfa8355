// SPDX-License-Identifier: Apache-2.0
// Every size by which attention is cut into work, chunks, blocks and tiles, and why it is that one.
// A tile's own shape, which depends on the instruction set, is in tile/simd-inl.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/plan/layout.h"

namespace regard::kernels {

inline constexpr std::size_t RoundUp(std::size_t x, std::size_t to) {
  return (x + to - 1) / to * to;
}

// ---- Strides of copied rows, in elements.

// Between rows that were copied out of a tensor: room for whole vectors behind the last column.
inline constexpr std::size_t CopyStride(std::size_t cols) { return RoundUp(cols, 32) + 32; }

// Between rows that were copied to be broadcast. Caches are cut into banks by the last bits of an
// address: elements of one column lie in different ones.
inline constexpr std::size_t RowStride(std::size_t inner) { return RoundUp(inner, 16) + 5; }

// As many bytes of a tensor are read panel by panel where they lie; of more, the lines of one panel
// would not stay in L1, and packing them pays.
inline constexpr std::size_t kMostInPlace = 32768;

// ---- Sums: a long one rounds less in pieces.

// Dims of a dot product whose products are summed by themselves before they are added up.
inline constexpr std::size_t kScoreBlock = 128;
// Columns of an additive score, the same; the exponentials of a block stay in L1.
inline constexpr std::size_t kAdditiveBlock = 64;

// ---- The forward pass.

// Units of rows (plan::kRowUnit, times heads) of one work item, at most: 768 query rows share the
// packed keys of a chunk.
inline constexpr std::size_t kMaxUnits = 64;

// Keys of one packed chunk: keys and values of a chunk stay within about half a MiB of cache each.
// Chunks start at multiples of it, so that a row's sums do not depend on where its item began.
inline constexpr std::size_t ChunkKeys(std::size_t dim, std::size_t dim_v) {
  const std::size_t larger = dim > dim_v ? dim : dim_v;
  return larger <= 128 ? 512 : larger <= 256 ? 256 : 128;
}

// ---- The backward pass.

// Query rows of one chunk: whole row units and whole vectors, and few enough for the packed rows
// and their gradients to lie in L2 beside a block's keys.
inline constexpr std::int64_t kQueryChunk = 96;

// Keys of a block whose P and dS are at hand at a time, at most: with a chunk of queries they are
// 81 KiB of floats. Words of visible keys cover 128.
inline constexpr std::size_t kMostSubKeys = 108;

// The most keys of one block: what a block keeps of them is about 2 MiB at any dim.
inline constexpr std::int64_t most_block_keys(std::int64_t dim, std::int64_t dim_v) {
  const std::int64_t larger = dim > dim_v ? dim : dim_v;
  return larger <= 128 ? 768 : larger <= 256 ? 384 : 192;
}

// Keys of one block of a sequence that owns `keys`. Short sequences are one block; long ones are
// cut into an even number of blocks of one size (by fours where there are more than six), so that a
// few workers end together.
inline constexpr std::int64_t block_keys(std::int64_t dim, std::int64_t dim_v, std::int64_t keys) {
  const std::int64_t most = most_block_keys(dim, dim_v);
  if (keys <= most) return most;
  const std::int64_t wanted = most * 3 / 4, blocks = (keys + wanted - 1) / wanted,
                     step = blocks > 6 ? 4 : 2;
  std::int64_t size = most;
  // Whole row units may leave one block less than was meant: then larger blocks, as long as they
  // fit.
  for (std::int64_t count = (blocks + step - 1) / step * step; count > 1; count -= 2) {
    const std::int64_t even =
        ((keys + count - 1) / count + plan::kRowUnit - 1) / plan::kRowUnit * plan::kRowUnit;
    if (even > most) break;
    size = even;
    if ((keys + size - 1) / size % 2 == 0) break;
  }
  return size;
}

// ---- Sequences with few queries, where scores are additive.

// A sequence with at most so many queries is scored pair by pair: its keys are read about once, and
// putting them in order for tiles would not pay.
inline constexpr std::int64_t kFewQueries = 4;
inline bool few_queries(const plan::Sequence& sequence) { return sequence.len_q <= kFewQueries; }

// Keys of one block in the backward pass there. Every key meets a few queries, and a block's
// gradients are written soon after they begin: what lies between should fit into L2. But no more
// than sixteen blocks: each has sums of its own.
inline constexpr std::int64_t block_keys_of_few(std::int64_t dim, std::int64_t dim_v,
                                                std::int64_t keys) {
  constexpr std::int64_t kLeast = 96, kBlocks = 16;
  const std::int64_t size =
      ((keys + kBlocks - 1) / kBlocks + plan::kRowUnit - 1) / plan::kRowUnit * plan::kRowUnit;
  return std::clamp(size, kLeast, most_block_keys(dim, dim_v));
}

// ---- What lies in which cache.

inline constexpr std::int64_t kCacheLine = 64;  // bytes

// Whether the rows of a sequence's head are more than what is likely to be in a cache: then they
// are prefetched. For rows that are in a cache, prefetching costs more than it brings.
inline bool exceeds_cache(const plan::Sequence& sequence, std::size_t dim) {
  constexpr std::size_t kCachedElements = 65536;
  return static_cast<std::size_t>(std::max(sequence.len_q, sequence.len_k)) * dim > kCachedElements;
}

// Whether results of so many bytes are more than what is likely to lie in a cache still when
// somebody reads them: then streaming stores, which leave the caches as they are, pay.
inline constexpr bool streaming_pays(std::int64_t bytes) { return bytes >= std::int64_t{8} << 20; }

// Of all items of a pass together: less is in a cache already, if it was used lately.
inline constexpr std::int64_t kCachedPassBytes = 1048576;

// Rows between the one at hand and one that is prefetched.
inline constexpr std::size_t kRowsAhead = 8;

}  // namespace regard::kernels
