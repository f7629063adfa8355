// SPDX-License-Identifier: Apache-2.0
// Tiles that a processor's matrix unit multiplies (AMX-BF16), which Highway has no word for: pairs
// of bfloat16 as in bf16_pairs-inl.h, sixteen pairs of sixteen rows and columns at once. Sums lie
// in tile registers while a product is made, and in memory for what follows it.
//
// The unit adds up the first and the second elements of sixteen pairs and then both to the sum, in
// float; like AVX512-BF16's instruction it flushes denormal numbers. (Intel's Architecture
// Instruction Set Extensions Programming Reference, TDPBF16PS.)

#if defined(REGARD_KERNELS_AMX_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_AMX_BF16_INL_H_
#undef REGARD_KERNELS_AMX_BF16_INL_H_
#else
#define REGARD_KERNELS_AMX_BF16_INL_H_
#endif

#include <immintrin.h>

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/tile/bf16_pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

struct AmxOps : Bf16PairOps {
  using Half = AmxOps;
  static constexpr bool kMatrixUnit = true;
  static constexpr const char* kTarget = "amx_bf16";
  // Pairs that one instruction sums over, and lanes of one tile.
  static constexpr std::size_t kStep = 16;

  // Operands have whole steps, with zeros behind the last column.
  static constexpr std::size_t Inner(std::size_t cols) {
    return RoundUp(Bf16PairOps::Inner(cols), kStep);
  }

  // Beside a matrix unit that is at work, vectors of 512 bits are multiplied in one pipe of two,
  // while additions and comparisons still have both: hence exponentials of few multiplications, as
  // exact as numbers that are rounded to bfloat16 need. Below 2^-126 it is 0; above 2^128 it is
  // infinite, so that a row sum shows that its maximum was too low. NaN gives NaN.
  static HWY_INLINE Vec<float> Weight(Vec<float> acc, float factor, Vec<float> maximum,
                                      const ExpEnd<Vec<float>>& end) {
    const Tag<float> d;
    const auto below = hn::Sub(ScoreOf(acc, factor), maximum);
    const auto x = hn::Mul(below, hn::Set(d, 1.44269504088896340736f));
    const auto biased = hn::Add(x, end.magic);
    const auto n = hn::Sub(biased, end.magic);
    const auto power = hn::Sub(biased, hn::Set(d, ExpEndOf<float>(0).magic));
    const __mmask16 counts = _mm512_cmp_ps_mask(below.raw, end.least.raw, _CMP_NLT_UQ);
    const __mmask16 ordinary =
        _mm512_mask_cmp_ps_mask(counts, x.raw, _mm512_set1_ps(128.0f), _CMP_NGT_UQ);
    const Vec<float> f{_mm512_maskz_sub_ps(ordinary, x.raw, n.raw)};
    // 2^f on [-0.5, 0.5]: the minimax polynomial for the relative error (7.5e-8), found by the
    // Remez exchange.
    auto p = hn::MulAdd(hn::Set(d, 1.327647198e-3f), f, hn::Set(d, 9.675541334e-3f));
    p = hn::MulAdd(p, f, hn::Set(d, 5.550713274e-2f));
    p = hn::MulAdd(p, f, hn::Set(d, 2.402211972e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 6.931469671e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 1.000000072f));
    return Vec<float>{_mm512_maskz_scalef_ps(counts, p.raw, power.raw)};
  }

  // The shapes of the tile registers, for as long as an item runs. 0, 1: sums of kRows rows, of 16
  // lanes each; 2: kRows rows; 3, 4: columns; 5: sums of 16 rows; 6: 16 rows.
  class Session {
   public:
    Session() { Configure(); }
    ~Session() { _tile_release(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    static void Configure() {
      struct {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t bytes[16] = {};
        std::uint8_t rows[16] = {};
      } shapes;
      for (std::size_t tile = 0; tile < 7; ++tile) {
        shapes.bytes[tile] = 64;
        shapes.rows[tile] = tile < 3 ? kRows : 16;
      }
      asm volatile("ldtilecfg %0" : : "m"(shapes));
    }
  };

  // to[r] = from[r] (zeros where it is null) + the sum over all parts of rows times columns, V
  // vectors of lanes: a part's kRows rows and its columns, of whole steps, are part(i). Rows of
  // `from` are kWidth elements apart, those of `to` to_stride.
  template <std::size_t V, class PartAt>
  static HWY_INLINE void SumParts(std::size_t count, const PartAt& part, const float* from,
                                  float* to, std::size_t to_stride) {
    asm volatile("" : : : "memory");  // loads of tiles do not say what they read
    if (from == nullptr) {
      _tile_zero(0);
      if constexpr (V == 2) _tile_zero(1);
    } else {
      _tile_loadd(0, from, kWidth<float> * sizeof(float));
      if constexpr (V == 2) _tile_loadd(1, from + kStep, kWidth<float> * sizeof(float));
    }
    for (std::size_t i = 0; i < count; ++i) {
      const ProductPart<Packed> p = part(i);
      const Packed *a = p.rows.data, *b = p.columns.data;
      const std::int64_t a_bytes = p.rows.stride * 4, b_bytes = p.columns.stride * 4;
      for (std::size_t c = 0; c < p.inner;
           c += kStep, a += kStep, b += static_cast<std::int64_t>(kStep) * p.columns.stride) {
        _tile_loadd(2, a, a_bytes);
        _tile_loadd(3, b, b_bytes);
        _tile_dpbf16ps(0, 2, 3);
        if constexpr (V == 2) {
          _tile_loadd(4, b + kStep, b_bytes);
          _tile_dpbf16ps(1, 2, 4);
        }
      }
    }
    _tile_stored(0, to, to_stride * sizeof(float));
    if constexpr (V == 2) _tile_stored(1, to + kStep, to_stride * sizeof(float));
  }

  // The same, row by row, where columns may hold NaN or infinity in what a row does not see: there
  // the row has zeros, and the columns count as zeros too. Adds to `sums`.
  static HWY_NOINLINE void AddSelecting(const ProductPart<Packed>& part, std::size_t n, bool narrow,
                                        float* HWY_RESTRICT sums) {
    HWY_ALIGN Packed selected[kStep * kWidth<float>];
    HWY_ALIGN float result[kRows * kWidth<float>];
    HWY_ALIGN float all[kRows * kWidth<float>];
    std::copy_n(sums, kRows * kWidth<float>, result);
    for (std::size_t r = 0; r < n; ++r) {
      std::copy_n(sums, kRows * kWidth<float>, all);
      for (std::size_t c = 0; c < part.inner; c += kStep) {
        const Rows<Packed> row = part.rows.row(static_cast<std::int64_t>(r)).from(c);
        for (std::size_t i = 0; i < kStep; ++i) {
          const Vec<Packed> keep = hn::Set(Tag<Packed>(), NotZero(row.data[i]));
          for (std::size_t lane = 0; lane < (narrow ? kStep : kWidth<float>); lane += kStep) {
            const Packed* column = part.columns.from(c + i).data + lane;
            hn::Store(hn::And(hn::Load(Tag<Packed>(), column), keep), Tag<Packed>(),
                      selected + i * kWidth<float> + lane);
          }
        }
        const auto step = [&](std::size_t) {
          return ProductPart<Packed>{
              part.rows.from(c), {selected, static_cast<std::int64_t>(kWidth<float>)}, kStep};
        };
        narrow ? SumParts<1>(1, step, all, all, kWidth<float>)
               : SumParts<2>(1, step, all, all, kWidth<float>);
      }
      std::copy_n(all + r * kWidth<float>, kWidth<float>, result + r * kWidth<float>);
    }
    std::copy_n(result, kRows * kWidth<float>, sums);
  }

  // Sixteen rows of `rows`, in whole tiles of a step each, `row_step` apart, times sixteen lanes of
  // columns.
  static HWY_INLINE void MultiplySquare(const Packed* rows, std::size_t row_step,
                                        Columns<Packed> columns, std::size_t steps, bool add,
                                        float* HWY_RESTRICT sums) {
    asm volatile("" : : : "memory");
    if (add) {
      _tile_loadd(5, sums, kWidth<float> * sizeof(float));
    } else {
      _tile_zero(5);
    }
    for (std::size_t s = 0; s < steps; ++s) {
      _tile_loadd(6, rows + s * row_step, kStep * sizeof(Packed));
      _tile_loadd(3, columns.from(s * kStep).data, columns.stride * 4);
      _tile_dpbf16ps(5, 6, 3);
    }
    _tile_stored(5, sums, kWidth<float> * sizeof(float));
  }

  // dS for dq is summed over keys: rows r and r + 1 become the halves of one element, queries in
  // the order of QueryOfRun().
  template <std::size_t M, class Tile>
  static HWY_INLINE void StoreByQuery(const Tile& d_scores, std::size_t /*lane*/,
                                      Packed* HWY_RESTRICT to) {
    for (std::size_t r = 0; r < M; r += 2) {
      StorePairs(Round(d_scores.v[r][0], d_scores.v[r][1]),
                 Round(d_scores.v[r + 1][0], d_scores.v[r + 1][1]),
                 to + r / 2 * static_cast<std::size_t>(kQueryChunk));
    }
  }
  static HWY_INLINE void StorePairs(Vec<Packed> even, Vec<Packed> odd, Packed* HWY_RESTRICT to) {
    const Tag<Packed> d;
    const Tag<std::uint16_t> d_words;
    const auto a = hn::BitCast(d_words, even), b = hn::BitCast(d_words, odd);
    hn::Store(hn::BitCast(d, hn::InterleaveLower(d_words, a, b)), d, to);
    hn::Store(hn::BitCast(d, hn::InterleaveUpper(d_words, a, b)), d, to + kStep);
  }
  // Where StorePairs puts queries: four at a time, from a query of the panel on.
  static constexpr std::size_t kRun = 4;
  static constexpr std::size_t QueryOfRun(std::size_t run) { return run % 4 * 8 + run / 4 * 4; }

  static HWY_INLINE void PackLanesOf(const RowsView& head, std::int64_t first, std::size_t n,
                                     std::size_t cols, float /*scale*/,
                                     const RowBuffers<float>& buffers, Packed* HWY_RESTRICT to) {
    const Packed* rows[kWidth<float>];
    PointAtPairs(head, first, n, kWidth<float>, cols, buffers, rows);
    LanesOf(rows, n, cols, to);
  }
  // Rows begin with a line of cache each: a tile's load reads whole lines.
  static HWY_INLINE Rows<Packed> RowsOf(const RowsView& head, std::int64_t first, std::size_t n,
                                        std::size_t cols, float /*scale*/,
                                        const RowBuffers<float>& buffers, Packed* HWY_RESTRICT to,
                                        std::size_t /*stride*/, bool /*padded*/,
                                        bool* /*finite*/ = nullptr) {
    const std::size_t pairs = Bf16PairOps::Inner(cols), inner = Inner(cols);
    static_assert(RowStride(kStep) * kRows >= kStep * kRows + 16, "room to begin with a line");
    to = reinterpret_cast<Packed*>(RoundUp(reinterpret_cast<std::uintptr_t>(to), 64));
    const Packed* rows[kRows];
    PointAtPairs(head, first, n, kRows, cols, buffers, rows);
    for (std::size_t r = 0; r < kRows; ++r) {
      CopyPairs(rows[r], pairs, to + r * inner);
      std::fill(to + r * inner + pairs, to + (r + 1) * inner, Packed{0});
    }
    return {to, static_cast<std::int64_t>(inner)};
  }
  // Panels have whole steps of rows too.
  static HWY_INLINE bool PackBothOf(const RowsView& head, std::int64_t first, std::size_t n,
                                    std::size_t cols, float /*scale*/, std::size_t panel_stride,
                                    const RowBuffers<float>& buffers, Packed* HWY_RESTRICT lanes,
                                    Packed* HWY_RESTRICT panels) {
    const Packed* rows[kWidth<float>];
    PointAtPairs(head, first, n, kWidth<float>, cols, buffers, rows);
    const bool finite = PanelsOfRows(rows, kWidth<float>, cols, panel_stride, panels);
    LanesOf(rows, n, cols, lanes);
    return finite;
  }

  // `n` rows transposed: in tiles of 16 columns, which become its rows, by a step of rows; all
  // tiles of a step, of RoundUp(cols, 16) columns, lie side by side. Zeros where there is no row
  // (of the last group of kRows) or column. Returns whether all is finite.
  static HWY_NOINLINE bool PackTransposed(const RowsView& head, std::int64_t first, std::size_t n,
                                          std::size_t cols, const RowBuffers<float>& buffers,
                                          Packed* HWY_RESTRICT to) {
    const Tag<std::uint16_t> d;
    const Tag<Packed> d_pairs;
    const auto exponent = hn::Set(d, std::uint16_t{0x7F80});
    const auto even = hn::Load(d_pairs, kEvenOfTwo),
               odd = hn::Add(even, hn::Set(d_pairs, 0x10001u));
    auto not_finite = hn::Eq(hn::Zero(d), exponent);
    constexpr std::size_t kMost = 32;  // pairs of columns at a time
    HWY_ALIGN Packed lanes[kMost * kWidth<float>];
    const std::size_t pairs = Bf16PairOps::Inner(cols), padded = RoundUp(cols, 16) / 2;
    for (std::size_t at = 0; at < RoundUp(n, kRows); at += kWidth<float>) {
      const Packed* rows[kWidth<float>];
      const std::size_t count = std::min(kWidth<float>, n - std::min(at, n));
      PointAtPairs(head, first + static_cast<std::int64_t>(at), count, kWidth<float>, cols, buffers,
                   rows);
      for (std::size_t begin = 0; begin < pairs; begin += kMost) {
        const std::size_t columns = std::min(kMost, pairs - begin);
        PackLanes(rows, count, columns, Packed{1}, lanes);
        for (std::size_t c = 0; c < columns; ++c, to += 2 * kStep) {
          const auto low = hn::Load(d_pairs, lanes + c * kWidth<float>),
                     high = hn::Load(d_pairs, lanes + c * kWidth<float> + kStep);
          const Vec<Packed> first_column{_mm512_permutex2var_epi16(low.raw, even.raw, high.raw)};
          const Vec<Packed> second_column{_mm512_permutex2var_epi16(low.raw, odd.raw, high.raw)};
          hn::Store(first_column, d_pairs, to);
          hn::Store(second_column, d_pairs, to + kStep);
          const auto a = hn::BitCast(d, first_column), b = hn::BitCast(d, second_column);
          not_finite = hn::Or(not_finite, hn::Or(hn::Eq(hn::And(a, exponent), exponent),
                                                 hn::Eq(hn::And(b, exponent), exponent)));
        }
        for (std::size_t r = 0; r < kWidth<float>; ++r) rows[r] += columns;
      }
      Clear(to, (padded - pairs) * 2 * kStep);
      to += (padded - pairs) * 2 * kStep;
    }
    return hn::AllFalse(d, not_finite);
  }

 private:
  // Lanes of whole steps.
  static HWY_INLINE void LanesOf(const Packed* const* rows, std::size_t n, std::size_t cols,
                                 Packed* HWY_RESTRICT to) {
    const std::size_t pairs = Bf16PairOps::Inner(cols);
    PackLanes(rows, n, pairs, Packed{1}, to);
    Clear(to + pairs * kWidth<float>, (Inner(cols) - pairs) * kWidth<float>);
  }

  // Words of two vectors: the first of each pair.
  HWY_ALIGN static constexpr std::uint32_t kEvenOfTwo[16] = {
      0x020000, 0x060004, 0x0A0008, 0x0E000C, 0x120010, 0x160014, 0x1A0018, 0x1E001C,
      0x220020, 0x260024, 0x2A0028, 0x2E002C, 0x320030, 0x360034, 0x3A0038, 0x3E003C};
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
