// SPDX-License-Identifier: Apache-2.0
// Inner products of queries with rows of keys, and sums of rows of values, both read as they lie in
// memory: float32, or narrow elements that become float in registers.

#if defined(REGARD_KERNELS_DECODE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_DECODE_ROWS_INL_H_
#undef REGARD_KERNELS_DECODE_ROWS_INL_H_
#else
#define REGARD_KERNELS_DECODE_ROWS_INL_H_
#endif

#include <cmath>
#include <type_traits>

#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

inline constexpr std::size_t kDecodeBlock = 64;  // keys that are at hand at once

// Keys or values that are at hand: where `n` rows lie, and behind them, in whole vectors, the last
// again.
struct BlockOfRows {
  const void* const* rows;
  std::size_t n;
  DType dtype;
  const float* scales = nullptr;  // [kDecodeBlock], of int8
  // Where the rows of the next block lie, which are prefetched meanwhile; null: nowhere.
  const void* const* next = nullptr;
};

// A vector of a row.
HWY_INLINE Vec<float> LoadElements(const float* p) { return hn::LoadU(Tag<float>(), p); }
HWY_INLINE Vec<float> LoadElements(const hwy::bfloat16_t* p) {
  const Tag<float> d;
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::bfloat16_t, Tag<float>>(), p));
}
HWY_INLINE Vec<float> LoadElements(const hwy::float16_t* p) { return LoadFloat16(Tag<float>(), p); }
HWY_INLINE Vec<float> LoadElements(const std::int8_t* p) {
  const hn::Rebind<std::int32_t, Tag<float>> di;
  const hn::Rebind<std::int8_t, Tag<float>> d8;
  return hn::ConvertTo(Tag<float>(), hn::PromoteTo(di, hn::LoadU(d8, p)));
}

// bfloat16 of rows in whole steps of two vectors: even columns become one vector, odd ones the
// other, which takes two instructions for both instead of two for each. Queries (SplitColumns) and
// states (JoinColumns) have their columns in that order, too.
struct BFloat16Pair {
  std::uint16_t even, odd;
};

// What one step along a row reads: vectors, and elements of E.
template <typename E>
inline constexpr std::size_t kStepVectors = 1;
template <>
inline constexpr std::size_t kStepVectors<BFloat16Pair> = 2;
template <typename E>
inline constexpr std::size_t kElementBytes = sizeof(E) / kStepVectors<E>;

template <typename E>
HWY_INLINE const E* AtColumn(const void* row, std::size_t c) {
  return reinterpret_cast<const E*>(static_cast<const char*>(row) + c * kElementBytes<E>);
}
template <typename E>
HWY_INLINE void LoadStep(const E* p, Vec<float>* x) {
  x[0] = LoadElements(p);
}
HWY_INLINE void LoadStep(const BFloat16Pair* p, Vec<float>* x) {
  const Tag<std::uint32_t> d;
  const auto both = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(p));
  x[0] = hn::BitCast(Tag<float>(), hn::ShiftLeft<16>(both));
  x[1] = hn::BitCast(Tag<float>(), hn::And(both, hn::Set(d, 0xFFFF0000u)));
}

// Whether rows of a dtype are read so; where they do not lie side by side, they are copied in that
// order.
HWY_INLINE bool InPairs(DType dtype, std::size_t cols) {
  return dtype == DType::kBFloat16 && cols % (2 * kLanes<float>) == 0;
}

// Columns from their own order to that of BFloat16Pair's vectors, and back.
inline void SplitColumns(float* row, std::size_t cols) {
  const Tag<float> d;
  for (std::size_t c = 0; c < cols; c += 2 * kLanes<float>) {
    Vec<float> even, odd;
    hn::LoadInterleaved2(d, row + c, even, odd);
    hn::Store(even, d, row + c);
    hn::Store(odd, d, row + c + kLanes<float>);
  }
}
inline void JoinColumns(float* row, std::size_t cols) {
  const Tag<float> d;
  for (std::size_t c = 0; c < cols; c += 2 * kLanes<float>) {
    const auto even = hn::Load(d, row + c), odd = hn::Load(d, row + c + kLanes<float>);
    hn::StoreInterleaved2(even, odd, d, row + c);
  }
}

// Prefetches a line of a row that comes next, where one begins at this column.
template <typename E>
HWY_INLINE void PrefetchColumn(const void* row, std::size_t c) {
  if (c * kElementBytes<E> % 64 == 0) __builtin_prefetch(AtColumn<E>(row, c), 0, 2);
}

#if HWY_TARGET != HWY_SCALAR
// Of four vectors: in each block of four lanes, the sums of that block of x[0], x[1], x[2], x[3].
HWY_INLINE Vec<float> SumInBlocks(const Vec<float>* x) {
  const Tag<float> d;
  const hn::RepartitionToWide<Tag<float>> dw;
  const auto a = hn::Add(hn::InterleaveLower(d, x[0], x[1]), hn::InterleaveUpper(d, x[0], x[1]));
  const auto b = hn::Add(hn::InterleaveLower(d, x[2], x[3]), hn::InterleaveUpper(d, x[2], x[3]));
  const auto wa = hn::BitCast(dw, a), wb = hn::BitCast(dw, b);
  return hn::Add(hn::BitCast(d, hn::InterleaveLower(dw, wa, wb)),
                 hn::BitCast(d, hn::InterleaveUpper(dw, wa, wb)));
}

// From kLanes / 4 such vectors, of four rows each: the sums of kLanes rows, in their order.
HWY_INLINE Vec<float> SumBlocks(const float* HWY_RESTRICT partial) {
  static_assert(kLanes<float> == 4 || kLanes<float> == 8 || kLanes<float> == 16);
  const Tag<float> d;
  if constexpr (kLanes<float> == 4) {
    return hn::Load(d, partial);
  } else if constexpr (kLanes<float> == 8) {
    const auto a = hn::Load(d, partial), b = hn::Load(d, partial + 8);
    return hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
  } else {
    // Rows 8 to 11 come second: the blocks then end up in order.
    const auto a = hn::Load(d, partial), b = hn::Load(d, partial + 32),
               c = hn::Load(d, partial + 16), e = hn::Load(d, partial + 48);
    const auto ab = hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    const auto ce = hn::Add(hn::ConcatLowerLower(d, e, c), hn::ConcatUpperUpper(d, e, c));
    return hn::Add(hn::OddEvenBlocks(ce, ab), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(ab, ce)));
  }
}

// Of M queries, `q_stride` apart, and four rows: partial[m * 4 * kLanes] gets the sums in blocks.
template <typename E, std::size_t M>
HWY_INLINE void FourProducts(const float* HWY_RESTRICT q, std::size_t q_stride,
                             const void* const* rows, const void* const* next, std::size_t cols,
                             float* HWY_RESTRICT partial) {
  const Tag<float> d;
  constexpr std::size_t kStep = kStepVectors<E>;
  Vec<float> acc[M][4];
#pragma GCC unroll 4
  for (std::size_t m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) acc[m][i] = hn::Zero(d);
  }
#pragma GCC unroll 2
  for (std::size_t c = 0; c < cols; c += kStep * kLanes<float>) {
    if (next != nullptr) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < 4; ++i) PrefetchColumn<E>(next[i], c);
    }
    Vec<float> k[4][kStep];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) LoadStep(AtColumn<E>(rows[i], c), k[i]);
#pragma GCC unroll 4
    for (std::size_t m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (std::size_t s = 0; s < kStep; ++s) {
        const auto x = hn::LoadU(d, q + m * q_stride + c + s * kLanes<float>);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) acc[m][i] = hn::MulAdd(x, k[i][s], acc[m][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (std::size_t m = 0; m < M; ++m)
    hn::Store(SumInBlocks(acc[m]), d, partial + m * 4 * kLanes<float>);
}
#endif

// Inner products of M queries with kLanes rows, of which the first n are wanted; `to` of query m is
// `to_stride` further on.
template <typename E, std::size_t M>
HWY_NOINLINE void LaneProducts(const float* HWY_RESTRICT q, std::size_t q_stride,
                               const void* const* rows, [[maybe_unused]] const void* const* next,
                               [[maybe_unused]] std::size_t n, std::size_t cols,
                               float* HWY_RESTRICT to, std::size_t to_stride) {
  const Tag<float> d;
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t m = 0; m < M; ++m) {
    auto sum = hn::Zero(d);
    for (std::size_t c = 0; c < cols; c += kStepVectors<E>) {
      Vec<float> k[kStepVectors<E>];
      LoadStep(AtColumn<E>(rows[0], c), k);
      for (std::size_t s = 0; s < kStepVectors<E>; ++s)
        sum = hn::MulAdd(hn::LoadU(d, q + m * q_stride + c + s), k[s], sum);
    }
    hn::Store(sum, d, to + m * to_stride);
  }
#else
  HWY_ALIGN float partial[M * 4 * kLanes<float>];
#pragma GCC unroll 4
  for (std::size_t g = 0; g < kLanes<float> / 4; ++g) {
    if (HWY_UNLIKELY(g * 4 >= n)) {
      for (std::size_t m = 0; m < M; ++m)
        hn::Store(hn::Zero(d), d, partial + (m * 4 + g) * kLanes<float>);
      continue;
    }
    FourProducts<E, M>(q, q_stride, rows + g * 4, next == nullptr ? next : next + g * 4, cols,
                       partial + g * kLanes<float>);
  }
  for (std::size_t m = 0; m < M; ++m)
    hn::Store(SumBlocks(partial + m * 4 * kLanes<float>), d, to + m * to_stride);
#endif
}

// Sums of M rows of weights times the rows of values: out[m][column + v * kLanes] += sum over j of
// weights[m][j] * row j, for V vectors. Weights of one panel of kWidth keys after another, `panel`
// apart.
template <typename E, std::size_t M, std::size_t V>
HWY_NOINLINE void SumRowsOfValues(const float* HWY_RESTRICT weights, std::size_t panel,
                                  const void* const* rows, const void* const* next, std::size_t n,
                                  std::size_t column, float* HWY_RESTRICT out,
                                  std::size_t out_stride) {
  const Tag<float> d;
  static_assert(V % kStepVectors<E> == 0);
  Vec<float> acc[M][V];
#pragma GCC unroll 8
  for (std::size_t m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (std::size_t v = 0; v < V; ++v)
      acc[m][v] = hn::Load(d, out + m * out_stride + column + v * kLanes<float>);
  }
  for (std::size_t first = 0; first < n; first += kWidth<float>, weights += panel) {
    const std::size_t count = n - first < kWidth<float> ? n - first : kWidth<float>;
    for (std::size_t j = 0; j < count; ++j) {
      if (next != nullptr) {
#pragma GCC unroll 8
        for (std::size_t v = 0; v < V; ++v)
          PrefetchColumn<E>(next[first + j], column + v * kLanes<float>);
      }
      Vec<float> x[V];
#pragma GCC unroll 8
      for (std::size_t v = 0; v < V; v += kStepVectors<E>)
        LoadStep(AtColumn<E>(rows[first + j], column + v * kLanes<float>), x + v);
#pragma GCC unroll 8
      for (std::size_t m = 0; m < M; ++m) {
        const auto w = hn::Set(d, weights[m * kWidth<float> + j]);
#pragma GCC unroll 8
        for (std::size_t v = 0; v < V; ++v) acc[m][v] = hn::MulAdd(w, x[v], acc[m][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (std::size_t m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (std::size_t v = 0; v < V; ++v)
      hn::Store(acc[m][v], d, out + m * out_stride + column + v * kLanes<float>);
  }
}

// The same for one row of weights where values may be NaN or infinite: what weighs +0 is left out.
template <typename E>
HWY_NOINLINE void SumSelectedRows(const float* HWY_RESTRICT weights, std::size_t panel,
                                  const void* const* rows, std::size_t n, std::size_t cols,
                                  float* HWY_RESTRICT out) {
  const Tag<float> d;
  for (std::size_t j = 0; j < n; ++j) {
    const float w = weights[j / kWidth<float> * panel + j % kWidth<float>];
    if (w == 0 && !std::signbit(w)) continue;
    for (std::size_t c = 0; c < cols; c += kStepVectors<E> * kLanes<float>) {
      Vec<float> x[kStepVectors<E>];
      LoadStep(AtColumn<E>(rows[j], c), x);
      for (std::size_t s = 0; s < kStepVectors<E>; ++s) {
        float* to = out + c + s * kLanes<float>;
        hn::Store(hn::MulAdd(hn::Set(d, w), x[s], hn::Load(d, to)), d, to);
      }
    }
  }
}

template <typename E>
inline constexpr bool kMayBeInfinite = !std::is_same_v<E, std::int8_t>;
template <typename E>
HWY_NOINLINE bool FiniteRows(const void* const* rows, std::size_t n, std::size_t cols) {
  auto seen = hn::Zero(Tag<float>());
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t c = 0; c < cols; c += kStepVectors<E> * kLanes<float>) {
      Vec<float> x[kStepVectors<E>];
      LoadStep(AtColumn<E>(rows[j], c), x);
      for (std::size_t s = 0; s < kStepVectors<E>; ++s) seen = See<float>(seen, x[s]);
    }
  }
  return AllFinite<float>(seen);
}

// All rows of a block at once, for whatever type of elements.
struct ScoreBlock {
  const float* q;  // [rows][q_stride], zeros behind the last column
  std::size_t rows, q_stride, cols;
  float* scores;  // [panel of keys][rows][kWidth]
};

template <typename E>
HWY_INLINE void MultiplyBlock(const ScoreBlock& block, const void* const* keys,
                              const void* const* next, std::size_t n) {
  // A query's products have the same bits in every number of rows: each has its own sums.
  constexpr std::size_t kMost = kAvx512 ? 4 : 2;
  for (std::size_t j = 0; j < n; j += kLanes<float>) {
    float* to = block.scores + j / kWidth<float> * block.rows * kWidth<float> + j % kWidth<float>;
    std::size_t r = 0;
    const auto some = [&](auto call, std::size_t m) {
      call(block.q + r * block.q_stride, block.q_stride, keys + j,
           next == nullptr || r > 0 ? nullptr : next + j, n - j, block.cols, to + r * kWidth<float>,
           kWidth<float>);
      r += m;
    };
    for (; r + kMost <= block.rows;) some(LaneProducts<E, kMost>, kMost);
    if (kMost > 2 && r + 2 <= block.rows) some(LaneProducts<E, 2>, 2);
    if (r < block.rows) some(LaneProducts<E, 1>, 1);
  }
}

// Multiplies the scores or weights of each key.
inline void ScaleLanes(const float* HWY_RESTRICT scales, std::size_t rows, std::size_t n,
                       float* HWY_RESTRICT scores) {
  const Tag<float> d;
  for (std::size_t j = 0; j < n; j += kWidth<float>, scores += rows * kWidth<float>) {
    for (std::size_t at = 0; at < rows * kWidth<float>; at += kLanes<float>) {
      const auto scale = hn::Load(d, scales + j + at % kWidth<float>);
      hn::Store(hn::Mul(hn::Load(d, scores + at), scale), d, scores + at);
    }
  }
}

struct ValueBlock {
  const void* const* next;  // as in BlockOfRows
  const float* weights;     // as scores
  std::size_t rows, cols;
  float* out;  // [rows][out_stride]
  std::size_t out_stride;
};

// Columns from `column` on, as long as V vectors fit.
template <typename E, std::size_t M, std::size_t V>
HWY_INLINE void SumColumns(const ValueBlock& block, std::size_t r, const void* const* values,
                           std::size_t n, std::size_t* column) {
  for (; *column + V * kLanes<float> <= block.cols; *column += V * kLanes<float>) {
    SumRowsOfValues<E, M, V>(block.weights + r * kWidth<float>, block.rows * kWidth<float>, values,
                             r > 0 ? nullptr : block.next, n, *column,
                             block.out + r * block.out_stride, block.out_stride);
  }
}

template <typename E, std::size_t M>
HWY_INLINE void SumAllColumns(const ValueBlock& block, std::size_t r, const void* const* values,
                              std::size_t n) {
  // As many vectors of columns as there are registers for their sums.
  constexpr std::size_t kRegisters = kAvx512 ? 16 : 8;
  constexpr std::size_t kVectors = M == 1 ? 8 : kRegisters / M;
  std::size_t column = 0;
  SumColumns<E, M, kVectors>(block, r, values, n, &column);
  if constexpr (kVectors > 4) SumColumns<E, M, 4>(block, r, values, n, &column);
  if constexpr (kVectors > 2) SumColumns<E, M, 2>(block, r, values, n, &column);
  if constexpr (kStepVectors<E> == 1) SumColumns<E, M, 1>(block, r, values, n, &column);
}

template <typename E>
HWY_INLINE void SumBlock(const ValueBlock& block, const void* const* values, std::size_t n,
                         bool select) {
  if (HWY_UNLIKELY(select)) {
    for (std::size_t r = 0; r < block.rows; ++r) {
      SumSelectedRows<E>(block.weights + r * kWidth<float>, block.rows * kWidth<float>, values, n,
                         block.cols, block.out + r * block.out_stride);
    }
    return;
  }
  constexpr std::size_t kMost = kAvx512 ? 8 : 4;
  std::size_t r = 0;
  for (; r + kMost <= block.rows; r += kMost) SumAllColumns<E, kMost>(block, r, values, n);
  if (kMost > 4 && r + 4 <= block.rows) {
    SumAllColumns<E, 4>(block, r, values, n);
    r += 4;
  }
  if (r + 2 <= block.rows) {
    SumAllColumns<E, 2>(block, r, values, n);
    r += 2;
  }
  if (r < block.rows) SumAllColumns<E, 1>(block, r, values, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
