// SPDX-License-Identifier: Apache-2.0
// Tiles that multiply pairs of bfloat16 (AVX512-BF16), which Highway 1.0.3 has no word for.
//
// An operand element is two neighbours of the dimension that is summed: two dims of a key, two keys
// of a value. Sums are float. The instruction flushes denormal numbers whatever the caller's mode,
// and weights are rounded to bfloat16 before they multiply values.

#if defined(REGARD_KERNELS_BF16_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BF16_PAIRS_INL_H_
#undef REGARD_KERNELS_BF16_PAIRS_INL_H_
#else
#define REGARD_KERNELS_BF16_PAIRS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "core/kernels/tile/acc-inl.h"
#include "core/kernels/tile/ops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

struct Bf16PairOps {
  using T = float;
  using Packed = std::uint32_t;
  using D = Tag<float>;
  using Half = Bf16PairOps;
  static constexpr std::size_t kPair = 2;
  static constexpr bool kMatrixUnit = false;
  struct Session {};
  static constexpr std::size_t Inner(std::size_t cols) { return (cols + 1) / 2; }
  static constexpr bool kScaleWhilePacking =
      false;  // folded in, the scale would be rounded to bfloat16
  static constexpr bool kSeparateByQuery = true;
  static constexpr const char* kTarget = "avx512_bf16";

  static HWY_INLINE Vec<float> LoadPacked(const Packed* HWY_RESTRICT p) {
    return hn::BitCast(Tag<float>(), hn::Load(Tag<std::uint32_t>(), p));
  }
  static HWY_INLINE Vec<float> Broadcast(const Packed* HWY_RESTRICT p) {
    return hn::BitCast(Tag<float>(), hn::Set(Tag<std::uint32_t>(), *p));
  }

  static HWY_INLINE Vec<float> MulAcc(Vec<float> acc, Vec<float> a, Vec<float> b) {
    return Vec<float>{_mm512_dpbf16_ps(acc.raw, reinterpret_cast<__m512bh>(a.raw),
                                       reinterpret_cast<__m512bh>(b.raw))};
  }
  static HWY_INLINE Vec<float> ScoreOf(Vec<float> acc, float factor) {
    return hn::Mul(acc, hn::Set(Tag<float>(), factor));
  }
  static HWY_INLINE Vec<float> Weight(Vec<float> acc, float factor, Vec<float> maximum,
                                      const ExpEnd<Vec<float>>& end) {
    return Exp(hn::Sub(ScoreOf(acc, factor), maximum), end);
  }

  // All bits of each half of a pair that is not 0.
  static HWY_INLINE Packed NotZero(Packed a) {
    return ((a & 0x7FFFu) != 0 ? 0xFFFFu : 0u) | ((a & 0x7FFF0000u) != 0 ? 0xFFFF0000u : 0u);
  }
  static HWY_INLINE Vec<float> MulAccSelecting(Vec<float> acc, Packed a,
                                               const Packed* HWY_RESTRICT b) {
    const Tag<std::uint32_t> du;
    const auto selected = hn::And(hn::Load(du, b), hn::Set(du, NotZero(a)));
    return MulAcc(acc, Broadcast(&a), hn::BitCast(Tag<float>(), selected));
  }

  // 32 floats, rounded to nearest even, the first 16 in the lower half.
  static HWY_INLINE Vec<std::uint32_t> Round(Vec<float> low, Vec<float> high) {
    return Vec<std::uint32_t>{reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.raw, low.raw))};
  }
  static HWY_INLINE void StoreRow(Vec<float> x0, Vec<float> x1, Packed* HWY_RESTRICT p) {
    hn::Store(Round(x0, x1), Tag<std::uint32_t>(), p);
  }
  static HWY_INLINE void StoreHalfRow(Vec<float> x, std::size_t lane, Packed* HWY_RESTRICT p) {
    const hn::Half<Tag<std::uint32_t>> half;
    hn::Store(hn::LowerHalf(half, Round(x, x)), half, p + lane / kPair);
    hn::Store(hn::Zero(half), half, p + (kLanes<float> - lane) / kPair);
  }
  using Element = std::uint16_t;
  static constexpr DType kElement = DType::kBFloat16;
  template <std::size_t V>
  static HWY_INLINE void StoreElements(const Vec<float>* x, Element* HWY_RESTRICT to) {
    const Tag<std::uint16_t> d;
    const auto rounded = hn::BitCast(d, Round(x[0], x[V - 1]));
    if constexpr (V == 2) {
      hn::StoreU(rounded, d, to);
    } else {
      hn::StoreU(hn::LowerHalf(hn::Half<Tag<std::uint16_t>>(), rounded),
                 hn::Half<Tag<std::uint16_t>>(), to);
    }
  }

  // dS for dq is summed over keys: rows r and r + 1 become the halves of one element.
  template <std::size_t M, class Tile>
  static HWY_INLINE void StoreByQuery(const Tile& d_scores, std::size_t lane,
                                      Packed* HWY_RESTRICT to) {
    const Tag<std::uint32_t> d;
    const auto order = hn::Load(d, kInterleaved);
#pragma GCC unroll 6
    for (std::size_t r = 0; r < M; r += 2) {
#pragma GCC unroll 2
      for (std::size_t v = 0; v < Tile::kVectors; ++v) {
        const auto rounded = Round(d_scores.v[r][v], d_scores.v[r + 1][v]);
        const Vec<std::uint32_t> pairs{_mm512_permutexvar_epi16(order.raw, rounded.raw)};
        hn::Store(pairs, d, to + r / 2 * static_cast<std::size_t>(kQueryChunk) + lane + v * 16);
      }
      if constexpr (Tile::kVectors == 1)
        hn::Store(hn::Zero(d), d, to + r / 2 * static_cast<std::size_t>(kQueryChunk) + 16 - lane);
    }
  }

  static HWY_INLINE void PackLanesOf(const RowsView& head, std::int64_t first, std::size_t n,
                                     std::size_t cols, float /*scale*/,
                                     const RowBuffers<float>& buffers, Packed* HWY_RESTRICT to) {
    const Packed* rows[kWidth<float>];
    PointAtPairs(head, first, n, kWidth<float>, cols, buffers, rows);
    PackLanes(rows, n, Inner(cols), Packed{1}, to);
  }
  static HWY_INLINE Rows<Packed> RowsOf(const RowsView& head, std::int64_t first, std::size_t n,
                                        std::size_t cols, float /*scale*/,
                                        const RowBuffers<float>& buffers, Packed* HWY_RESTRICT to,
                                        std::size_t stride, bool /*padded*/,
                                        bool* /*finite*/ = nullptr) {
    const Packed* rows[kRows];
    PointAtPairs(head, first, n, kRows, cols, buffers, rows);
    for (std::size_t r = 0; r < kRows; ++r) CopyPairs(rows[r], Inner(cols), to + r * stride);
    return {to, static_cast<std::int64_t>(stride)};
  }
  // Pairs of rows lie side by side in no tensor.
  static HWY_INLINE bool InPlace(const RowsView& /*head*/, std::int64_t /*first*/,
                                 std::size_t /*n*/, std::size_t /*cols*/) {
    return false;
  }
  static HWY_INLINE Panels<Packed> PanelsInPlace(const RowsView& /*head*/, std::int64_t /*first*/) {
    return {};
  }
  static HWY_INLINE bool FiniteInPlace(const RowsView& /*head*/, std::int64_t /*first*/,
                                       std::size_t /*n*/, std::size_t /*cols*/) {
    return false;
  }
  static HWY_INLINE bool PanelsOfRows(const Packed* const* rows, std::size_t n, std::size_t cols,
                                      std::size_t panel_stride, Packed* HWY_RESTRICT to) {
    bool finite = true;
    for (std::size_t r = 0; r < n; r += 2) {
      finite &= InterleaveRows(reinterpret_cast<const std::uint16_t*>(rows[r]),
                               reinterpret_cast<const std::uint16_t*>(rows[r + 1]), cols,
                               panel_stride, to + r / 2 * kWidth<float>);
    }
    return finite;
  }
  static HWY_INLINE bool PackPanelsOf(const RowsView& head, std::int64_t first, std::size_t n,
                                      std::size_t padded, std::size_t cols,
                                      std::size_t panel_stride, const RowBuffers<float>& buffers,
                                      Packed* HWY_RESTRICT to) {
    bool finite = true;
    const Packed* rows[kWidth<float>];
    for (std::size_t done = 0; done < padded; done += kWidth<float>) {
      const std::size_t count = std::min(kWidth<float>, padded - done);
      const std::size_t real = done < n ? std::min(count, n - done) : 0;
      PointAtPairs(head, first + static_cast<std::int64_t>(done), real, count, cols, buffers, rows);
      finite &= PanelsOfRows(rows, count, cols, panel_stride, to + done / 2 * kWidth<float>);
    }
    return finite;
  }
  static HWY_INLINE bool PackBothOf(const RowsView& head, std::int64_t first, std::size_t n,
                                    std::size_t cols, float /*scale*/, std::size_t panel_stride,
                                    const RowBuffers<float>& buffers, Packed* HWY_RESTRICT lanes,
                                    Packed* HWY_RESTRICT panels) {
    const Packed* rows[kWidth<float>];
    PointAtPairs(head, first, n, kWidth<float>, cols, buffers, rows);
    const bool finite = PanelsOfRows(rows, n + n % kPair, cols, panel_stride, panels);
    PackLanes(rows, n, Inner(cols), Packed{1}, lanes);
    return finite;
  }

 protected:
  // Words of two vectors, in turns: their first halves.
  HWY_ALIGN static constexpr std::uint32_t kFirstOfTwo[16] = {
      0x200000, 0x210001, 0x220002, 0x230003, 0x240004, 0x250005, 0x260006, 0x270007,
      0x280008, 0x290009, 0x2A000A, 0x2B000B, 0x2C000C, 0x2D000D, 0x2E000E, 0x2F000F};
  // Words of the two halves of a vector, in turns.
  HWY_ALIGN static constexpr std::uint32_t kInterleaved[16] = {
      0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
      0x180008, 0x190009, 0x1A000A, 0x1B000B, 0x1C000C, 0x1D000D, 0x1E000E, 0x1F000F};

  static HWY_INLINE void CopyPairs(const Packed* from, std::size_t n, Packed* HWY_RESTRICT to) {
    const Tag<Packed> d;
    std::size_t c = 0;
    for (; c + kLanes<float> <= n; c += kLanes<float>)
      hn::StoreU(hn::LoadU(d, from + c), d, to + c);
    if (c < n) std::memcpy(to + c, from + c, (n - c) * sizeof(Packed));
  }

  // `rows` pointers to bfloat16 rows, seen as pairs: into the tensor where it can be read so, else
  // into copies, rounded and padded.
  static HWY_INLINE void PointAtPairs(const RowsView& head, std::int64_t first, std::size_t n,
                                      std::size_t rows, std::size_t cols,
                                      const RowBuffers<float>& buffers, const Packed** pairs) {
    PrefetchRows(head, first, static_cast<std::int64_t>(n), cols);
    if (head.dtype == DType::kBFloat16 && head.col == 1 && cols % 2 == 0) {
      const auto* base = static_cast<const std::uint16_t*>(head.base);
      for (std::size_t r = 0; r < n; ++r)
        pairs[r] =
            reinterpret_cast<const Packed*>(base + head.At(first + static_cast<std::int64_t>(r)));
    } else {
      CopyAsPairs(head, first, n, cols, buffers, pairs);
    }
    for (std::size_t r = n; r < rows; ++r)
      pairs[r] = reinterpret_cast<const Packed*>(buffers.zeros);
  }
  static HWY_NOINLINE void CopyAsPairs(const RowsView& head, std::int64_t first, std::size_t n,
                                       std::size_t cols, const RowBuffers<float>& buffers,
                                       const Packed** pairs) {
    HWY_ALIGN float wide[kMostDim];
    for (std::size_t r = 0; r < n; ++r) {
      CopyRow(head, first + static_cast<std::int64_t>(r), cols, wide);
      auto* copy = reinterpret_cast<std::uint16_t*>(buffers.copies + r * buffers.stride);
      WriteRow(wide, RowsView{copy, DType::kBFloat16, false, 0, 1}, 0, cols);
      if (cols % 2 != 0) copy[cols] = 0;
      pairs[r] = reinterpret_cast<const Packed*>(copy);
    }
  }
  static constexpr std::size_t kMostDim = 2048;

  // Two rows as pairs, in panels. Returns whether all is finite.
  static HWY_INLINE bool InterleaveRows(const std::uint16_t* HWY_RESTRICT even,
                                        const std::uint16_t* HWY_RESTRICT odd, std::size_t cols,
                                        std::size_t panel_stride, Packed* HWY_RESTRICT to) {
    const Tag<std::uint16_t> d;
    const Tag<Packed> d_pairs;
    const auto exponent = hn::Set(d, std::uint16_t{0x7F80});
    const auto low = hn::Load(d_pairs, kFirstOfTwo),
               high = hn::Add(low, hn::Set(d_pairs, 0x100010u));
    auto not_finite = hn::Eq(hn::Zero(d), exponent);
    for (std::size_t c = 0; c < cols; c += kWidth<float>, to += panel_stride) {
      const auto there = hn::FirstN(d, std::min(kWidth<float>, cols - c));
      const auto a = hn::MaskedLoad(there, d, even + c), b = hn::MaskedLoad(there, d, odd + c);
      not_finite = hn::Or(not_finite, hn::Or(hn::Eq(hn::And(a, exponent), exponent),
                                             hn::Eq(hn::And(b, exponent), exponent)));
      hn::Store(Vec<Packed>{_mm512_permutex2var_epi16(a.raw, low.raw, b.raw)}, d_pairs, to);
      hn::Store(Vec<Packed>{_mm512_permutex2var_epi16(a.raw, high.raw, b.raw)}, d_pairs,
                to + kLanes<float>);
    }
    return hn::AllFalse(d, not_finite);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
