// Tiles that multiply pairs of bfloat16 (AVX512-BF16), which Highway 1.0.3 has no word for.
//
// An operand element is two neighbours of the dimension that is summed: two dims of a key, two keys of a value. Sums are float. The
// instruction flushes denormal numbers whatever the caller's mode, and weights are rounded to bfloat16 before they multiply values.

#if defined(REGARD_KERNELS_BF16_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BF16_PAIRS_INL_H_
#undef REGARD_KERNELS_BF16_PAIRS_INL_H_
#else
#define REGARD_KERNELS_BF16_PAIRS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "core/kernels/ops-inl.h"
#include "core/kernels/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

struct Bf16PairOps {
  using T = float;
  using Packed = std::uint32_t;
  static constexpr std::size_t kPair = 2;
  static constexpr bool kScaleWhilePacking = false;  // folded in, the scale would be rounded to bfloat16
  static constexpr bool kSeparateByQuery = true;
  static constexpr const char* kTarget = "avx512_bf16";

  static HWY_INLINE Vec<float> LoadPacked(const Packed* HWY_RESTRICT p) {
    return hn::BitCast(Tag<float>(), hn::Load(Tag<std::uint32_t>(), p));
  }
  static HWY_INLINE Vec<float> Broadcast(const Packed* HWY_RESTRICT p) {
    return hn::BitCast(Tag<float>(), hn::Set(Tag<std::uint32_t>(), *p));
  }

  // Assembler rather than an intrinsic: an intrinsic would ask for a target attribute on everything that it is inlined into.
  static HWY_INLINE Vec<float> MulAcc(Vec<float> acc, Vec<float> a, Vec<float> b) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc.raw) : "v"(a.raw), "v"(b.raw));
    return acc;
  }
  // The compiler moves what follows a product into its loop, where sums made by assembler then live in memory. Each of them has to pass
  // here first.
  template <class Sums>
  static HWY_INLINE void Settle(Sums& acc) {
    for (auto& row : acc.v) {
      for (auto& sum : row) __asm__ volatile("" : "+v"(sum.raw));
    }
  }
  static HWY_INLINE Vec<float> ScoreOf(Vec<float> acc, float factor) { return hn::Mul(acc, hn::Set(Tag<float>(), factor)); }

  static HWY_INLINE Vec<float> MulAccSelecting(Vec<float> acc, Packed a, const Packed* HWY_RESTRICT b) {
    const Tag<std::uint32_t> du;
    const Packed keep = ((a & 0x7FFFu) != 0 ? 0xFFFFu : 0u) | ((a & 0x7FFF0000u) != 0 ? 0xFFFF0000u : 0u);
    const auto selected = hn::And(hn::Load(du, b), hn::Set(du, keep));
    return MulAcc(acc, Broadcast(&a), hn::BitCast(Tag<float>(), selected));
  }

  // 32 floats, rounded to nearest even, the first 16 in the lower half.
  static HWY_INLINE Vec<std::uint32_t> Round(Vec<float> low, Vec<float> high) {
    Vec<float> both;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(both.raw) : "v"(high.raw), "v"(low.raw));
    return hn::BitCast(Tag<std::uint32_t>(), both);
  }
  static HWY_INLINE void StoreRow(Vec<float> x0, Vec<float> x1, Packed* HWY_RESTRICT p) {
    hn::Store(Round(x0, x1), Tag<std::uint32_t>(), p);
  }

  // dS for dq is summed over keys: rows r and r + 1 become the halves of one element.
  template <std::size_t M, std::size_t V>
  static HWY_INLINE void StoreByQuery(const Acc<Bf16PairOps, M, V>& d_scores, Packed* HWY_RESTRICT to) {
    const Tag<std::uint16_t> d16;
    const Tag<std::uint32_t> d32;
    const hn::Half<Tag<std::uint16_t>> half;
#pragma GCC unroll 6
    for (std::size_t r = 0; r < M; r += 2) {
#pragma GCC unroll 2
      for (std::size_t v = 0; v < V; ++v) {
        const auto halves = hn::BitCast(d16, Round(d_scores.v[r][v], d_scores.v[r + 1][v]));
        const auto even = hn::PromoteTo(d32, hn::LowerHalf(half, halves));
        const auto odd = hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::UpperHalf(half, halves)));
        hn::Store(hn::Or(even, odd), d32, to + r / 2 * static_cast<std::size_t>(kQueryChunk) + v * 16);
      }
    }
  }

  template <bool kCheck = false>
  static HWY_INLINE bool PackLanesOf(const Head& head, std::int64_t first, std::size_t n, std::size_t cols, float /*scale*/,
                                     const RowScratch<float>& scratch, Packed* HWY_RESTRICT to) {
    const Packed* rows[kWidth<float>];
    PointAtPairs(head, first, n, kWidth<float>, cols, scratch, rows);
    static_assert(!kCheck, "panels are always packed, and looked at then");
    return PackLanes(rows, (cols + 1) / 2, Packed{1}, to);
  }
  static HWY_INLINE Rows<Packed> RowsOf(const Head& head, std::int64_t first, std::size_t n, std::size_t cols, float /*scale*/,
                                        const RowScratch<float>& scratch, Packed* HWY_RESTRICT to, std::size_t stride,
                                        bool* /*finite*/ = nullptr) {
    const Packed* rows[kRows];
    PointAtPairs(head, first, n, kRows, cols, scratch, rows);
    for (std::size_t r = 0; r < kRows; ++r) CopyPairs(rows[r], (cols + 1) / 2, to + r * stride);
    return {to, static_cast<std::int64_t>(stride)};
  }
  // Pairs of rows lie side by side in no tensor.
  static constexpr bool kReadsInPlace = false;
  static HWY_INLINE bool InPlace(const Head& /*head*/, std::int64_t /*first*/, std::size_t /*n*/, std::size_t /*cols*/) { return false; }
  static HWY_INLINE Panels<Packed> PanelsInPlace(const Head& /*head*/, std::int64_t /*first*/) { return {}; }
  static HWY_INLINE bool FiniteInPlace(const Head& /*head*/, std::int64_t /*first*/, std::size_t /*n*/, std::size_t /*cols*/) {
    return false;
  }
  static HWY_INLINE bool PackPanelsOf(const Head& head, std::int64_t first, std::size_t n, std::size_t padded, std::size_t cols,
                                      std::size_t panel_stride, const RowScratch<float>& scratch, Packed* HWY_RESTRICT to) {
    bool finite = true;
    const Packed* rows[kWidth<float>];
    for (std::size_t done = 0; done < padded; done += kWidth<float>) {
      const std::size_t count = std::min(kWidth<float>, padded - done);
      const std::size_t real = done < n ? std::min(count, n - done) : 0;
      PointAtPairs(head, first + static_cast<std::int64_t>(done), real, count, cols, scratch, rows);
      for (std::size_t r = 0; r < count; r += 2) {
        finite &= InterleaveRows(reinterpret_cast<const std::uint16_t*>(rows[r]), reinterpret_cast<const std::uint16_t*>(rows[r + 1]), cols,
                                 panel_stride, to + (done + r) / 2 * kWidth<float>);
      }
    }
    return finite;
  }

 private:
  static HWY_INLINE void CopyPairs(const Packed* from, std::size_t n, Packed* HWY_RESTRICT to) {
    const Tag<Packed> d;
    std::size_t c = 0;
    for (; c + kLanes<float> <= n; c += kLanes<float>) hn::StoreU(hn::LoadU(d, from + c), d, to + c);
    if (c < n) std::memcpy(to + c, from + c, (n - c) * sizeof(Packed));
  }

  // `rows` pointers to bfloat16 rows, seen as pairs: into the tensor where it can be read so, else into copies, rounded and padded.
  static HWY_NOINLINE void PointAtPairs(const Head& head, std::int64_t first, std::size_t n, std::size_t rows, std::size_t cols,
                                        const RowScratch<float>& scratch, const Packed** pairs) {
    PrefetchRows(head, first, static_cast<std::int64_t>(n), cols);
    const bool direct = head.dtype == DType::kBFloat16 && head.col == 1 && cols % 2 == 0;
    for (std::size_t r = 0; r < rows; ++r) {
      if (r >= n) {
        pairs[r] = reinterpret_cast<const Packed*>(scratch.zeros);
        continue;
      }
      const std::int64_t i = first + static_cast<std::int64_t>(r);
      if (direct) {
        pairs[r] = reinterpret_cast<const Packed*>(static_cast<const std::uint16_t*>(head.base) + head.At(i));
        continue;
      }
      HWY_ALIGN float wide[kMostDim];
      CopyRow(head, i, cols, wide);
      auto* copy = reinterpret_cast<std::uint16_t*>(scratch.copies + r * scratch.stride);
      WriteRow(wide, Head{copy, DType::kBFloat16, false, 0, 1}, 0, cols);
      if (cols % 2 != 0) copy[cols] = 0;
      pairs[r] = reinterpret_cast<const Packed*>(copy);
    }
  }
  static constexpr std::size_t kMostDim = 512;

  static HWY_INLINE bool InterleaveRows(const std::uint16_t* HWY_RESTRICT even, const std::uint16_t* HWY_RESTRICT odd, std::size_t cols,
                                        std::size_t panel_stride, Packed* HWY_RESTRICT to) {
    const Tag<std::uint32_t> d32;
    const hn::Rebind<std::uint16_t, Tag<std::uint32_t>> d16;
    const auto exponent = hn::Set(d32, 0x7F800000u);
    auto not_finite = hn::Eq(hn::Zero(d32), exponent);
    for (std::size_t c = 0; c < cols; c += kLanes<float>) {
      Vec<std::uint32_t> low, high;
      if (c + kLanes<float> <= cols) {
        low = hn::PromoteTo(d32, hn::LoadU(d16, even + c));
        high = hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, odd + c)));
      } else {
        HWY_ALIGN std::uint32_t tail[2 * kLanes<float>] = {};
        for (std::size_t i = c; i < cols; ++i) {
          tail[i - c] = even[i];
          tail[kLanes<float> + i - c] = static_cast<std::uint32_t>(odd[i]) << 16;
        }
        low = hn::Load(d32, tail);
        high = hn::Load(d32, tail + kLanes<float>);
      }
      not_finite = hn::Or(not_finite,
                          hn::Or(hn::Eq(hn::And(hn::ShiftLeft<16>(low), exponent), exponent), hn::Eq(hn::And(high, exponent), exponent)));
      Packed* at = to + c / kWidth<float> * panel_stride + c % kWidth<float>;
      hn::Store(hn::Or(low, high), d32, at);
      // The second half of the last panel, where there are no columns for it.
      if (c % kWidth<float> == 0 && c + kLanes<float> >= cols) hn::Store(hn::Zero(d32), d32, at + kLanes<float>);
    }
    return hn::AllFalse(d32, not_finite);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
