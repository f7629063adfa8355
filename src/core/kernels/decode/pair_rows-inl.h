// SPDX-License-Identifier: Apache-2.0
// Keys and values of a block as pairs of bfloat16. Of bfloat16 keys the pairs are there: two
// neighbours of a row. int8 becomes bfloat16 without loss. Pairs of values are two rows' elements
// of one column, converted and interleaved once for all queries that share them.

#if defined(REGARD_KERNELS_PAIR_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PAIR_ROWS_INL_H_
#undef REGARD_KERNELS_PAIR_ROWS_INL_H_
#else
#define REGARD_KERNELS_PAIR_ROWS_INL_H_
#endif

#include <cstring>

#include "core/kernels/decode/decode_rows-inl.h"
#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Columns of whole vectors of bfloat16: what rows must be made of.
inline constexpr std::size_t kPairStep = 2 * kLanes<float>;

// What a unit multiplies: `rows` queries, as its StoreQuery() has left them, and a block of keys.
struct PairScores {
  const std::uint32_t* queries;
  std::size_t rows, dim;
  const float* scales;    // [kDecodeBlock], which scores are multiplied by
  std::uint32_t* copies;  // [kDecodeBlock][dim / 2], for keys that do not lie evenly
  float* scores;          // [panel of keys][rows][kWidth]
};

// state[row][column] += the sum over pairs of keys of weights times values.
struct PairSums {
  static constexpr std::size_t kWords = kLanes<float>;  // a row's weights of a panel
  const std::uint32_t* weights;                         // [panel][weight_rows][kWords]
  std::size_t weight_rows, rows;
  const std::uint32_t* values;  // [pair][cols]
  std::size_t pairs, cols;
  float* state;
  std::size_t stride;

  HWY_INLINE const std::uint32_t* WeightsOf(std::size_t row, std::size_t pair) const {
    return weights + (pair / kWords * weight_rows + row) * kWords + pair % kWords;
  }
};

// Two vectors of int8 as bfloat16: those of `low` in the lower halves of words. Numbers of eight
// bits leave the lower half of a float empty.
HWY_INLINE Vec<std::uint32_t> PairsOfInt8(const std::int8_t* low, const std::int8_t* high) {
  const Tag<std::uint32_t> d;
  return hn::Or(hn::ShiftRight<16>(hn::BitCast(d, LoadElements(low))),
                hn::BitCast(d, LoadElements(high)));
}

// A row of int8 keys as bfloat16, in another order than theirs: word c of each kPairStep columns
// has columns c and c + kLanes.
HWY_INLINE void WidenKey(const void* row, std::size_t cols, std::uint32_t* HWY_RESTRICT to) {
  const auto* from = static_cast<const std::int8_t*>(row);
  for (std::size_t c = 0; c < cols; c += kPairStep, to += kLanes<float>)
    hn::Store(PairsOfInt8(from + c, from + c + kLanes<float>), Tag<std::uint32_t>(), to);
}

// The same order of a query, which is given as bfloat16.
inline void OrderQuery(const std::uint16_t* HWY_RESTRICT from, std::size_t cols, bool widened,
                       std::uint32_t* HWY_RESTRICT to) {
  for (std::size_t c = 0; c < cols; c += kPairStep) {
    for (std::size_t i = 0; i < kLanes<float>; ++i) {
      const std::size_t low = widened ? c + i : c + 2 * i, high = widened ? low + 16 : low + 1;
      *to++ = static_cast<std::uint32_t>(from[low]) | static_cast<std::uint32_t>(from[high]) << 16;
    }
  }
}

// Rows 0 and 1 of values, the second of which may be missing, as [cols] pairs. Of bfloat16 the
// columns of kPairStep are in the order of ColumnOfPair().
template <typename E>
HWY_INLINE void PairValues(const void* row0, const void* row1, std::size_t cols,
                           std::uint32_t* HWY_RESTRICT to) {
  const Tag<std::uint32_t> d;
  if constexpr (sizeof(E) == 1) {
    const auto *a = static_cast<const std::int8_t*>(row0),
               *b = static_cast<const std::int8_t*>(row1);
    for (std::size_t c = 0; c < cols; c += kLanes<float>)
      hn::Store(PairsOfInt8(a + c, b + c), d, to + c);
  } else {
    const Tag<std::uint16_t> d16;
    const auto *a = static_cast<const std::uint16_t*>(row0),
               *b = static_cast<const std::uint16_t*>(row1);
    for (std::size_t c = 0; c < cols; c += kPairStep) {
      const auto x = hn::LoadU(d16, a + c), y = hn::LoadU(d16, b + c);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(d16, x, y)), d, to + c);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(d16, x, y)), d, to + c + kLanes<float>);
    }
  }
}

// Which column the pair at `at` (of kPairStep) is of: vectors are interleaved in blocks of eight.
inline constexpr std::size_t ColumnOfPair(std::size_t at) {
  return at % 16 / 4 * 8 + at / 16 * 4 + at % 4;
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
