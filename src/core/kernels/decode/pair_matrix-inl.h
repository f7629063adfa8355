// SPDX-License-Identifier: Apache-2.0
// Pairs of bfloat16 of the decode pass, multiplied by a matrix unit (AMX-BF16). Keys are the rows
// of a product and are read where they lie: queries, which are few, are what is transposed.

#if defined(REGARD_KERNELS_PAIR_MATRIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PAIR_MATRIX_INL_H_
#undef REGARD_KERNELS_PAIR_MATRIX_INL_H_
#else
#define REGARD_KERNELS_PAIR_MATRIX_INL_H_
#endif

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "core/kernels/decode/pair_rows-inl.h"
#include "core/kernels/tile/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

struct PairMatrix {
  static constexpr std::size_t kSide = 16;  // rows, and words of a row, of a tile register
  static constexpr std::size_t kTile = kSide * kSide;
  static constexpr std::size_t kPairsAtOnce = kSide;

  // The shapes of the tile registers. 0, 1: scores; 2, 3: keys; 4: queries; 3, 4 also values; 5, 6:
  // sums of as many rows as there are queries; 7: their weights.
  class Session {
   public:
    explicit Session(std::size_t rows) {
      struct {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t bytes[16] = {};
        std::uint8_t rows[16] = {};
      } shapes;
      for (std::size_t tile = 0; tile < 8; ++tile) {
        shapes.bytes[tile] = 64;
        shapes.rows[tile] = static_cast<std::uint8_t>(tile < 5 ? kSide : std::min(rows, kSide));
      }
      asm volatile("ldtilecfg %0" : : "m"(shapes));
    }
    ~Session() { _tile_release(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
  };

  // Transposed, [group of 16 queries][step of 16 words][word][query].
  static void StoreQuery(const std::uint32_t* words, std::size_t dim, std::size_t r,
                         std::uint32_t* queries) {
    std::uint32_t* to = queries + r / kSide * kSide * dim / 2 + r % kSide;
    for (std::size_t c = 0; c < dim / 2; ++c) to[c * kSide] = words[c];
  }

  static void Multiply(const PairScores& to, const void* const* keys, const void* const* next,
                       std::size_t n) {
    const std::size_t groups = (to.rows + kSide - 1) / kSide, steps = to.dim / kPairStep;
    HWY_ALIGN float scores[2 * kTile];
    const auto copies_of = [&](std::size_t j) { return to.copies + j * to.dim / 2; };
    for (std::size_t j = 0; j < n; j += 2 * kSide) {
      const bool both = j + kSide < n;
      const KeyTile first = TileOf(keys + j, to.dim, copies_of(j)),
                    second = both ? TileOf(keys + j + kSide, to.dim, copies_of(j + kSide)) : first;
      for (std::size_t g = 0; g < groups; ++g) {
        const std::uint32_t* q = to.queries + g * kSide * to.dim / 2;
        Products(q, steps, first, second, both, g > 0 || next == nullptr ? nullptr : next + j,
                 scores);
        const std::size_t count = std::min(kSide, to.rows - g * kSide);
        float* at = to.scores + (j / kWidth<float> * to.rows + g * kSide) * kWidth<float>;
        Transpose(scores, count, to.scales + j, at);
        if (both) Transpose(scores + kTile, count, to.scales + j + kSide, at + kSide);
      }
    }
  }

  static void Sum(const PairSums& sums) {
    asm volatile("" : : : "memory");  // loads of tiles do not say what they read
    for (std::size_t r = 0; r < sums.rows; r += kSide) {
      for (std::size_t c = 0; c < sums.cols; c += kPairStep) {
        float* state = sums.state + r * sums.stride + c;
        const std::size_t stride = sums.stride * sizeof(float);
        _tile_loadd(5, state, stride);
        _tile_loadd(6, state + kSide, stride);
        for (std::size_t i = 0; i < sums.pairs; i += kSide) {
          const std::uint32_t* values = sums.values + i * sums.cols + c;
          const std::size_t row = sums.cols * sizeof(std::uint32_t);
          _tile_loadd(7, sums.WeightsOf(r, i), PairSums::kWords * sizeof(std::uint32_t));
          _tile_loadd(3, values, row);
          _tile_dpbf16ps(5, 7, 3);
          _tile_loadd(4, values + kSide, row);
          _tile_dpbf16ps(6, 7, 4);
        }
        _tile_stored(5, state, stride);
        _tile_stored(6, state + kSide, stride);
      }
    }
    asm volatile("" : : : "memory");
  }

 private:
  struct KeyTile {
    const char* data;
    std::int64_t stride;
  };

  // Sixteen rows one stride apart, as they lie, or a copy of them.
  static KeyTile TileOf(const void* const* rows, std::size_t dim, std::uint32_t* copies) {
    const auto at = [&](std::size_t i) { return static_cast<const char*>(rows[i]); };
    const std::int64_t stride = at(1) - at(0);
    bool even = true;
    for (std::size_t i = 2; i < kSide; ++i) even &= at(i) - at(i - 1) == stride;
    if (even) return {at(0), stride};
    for (std::size_t i = 0; i < kSide; ++i)
      std::memcpy(copies + i * dim / 2, rows[i], dim * sizeof(std::uint16_t));
    return {reinterpret_cast<const char*>(copies), static_cast<std::int64_t>(2 * dim)};
  }

  // scores[key][query] of two tiles of keys and sixteen queries.
  static HWY_INLINE void Products(const std::uint32_t* q, std::size_t steps, const KeyTile& first,
                                  const KeyTile& second, bool both, const void* const* next,
                                  float* scores) {
    asm volatile("" : : : "memory");
    _tile_zero(0);
    _tile_zero(1);
    for (std::size_t s = 0; s < steps; ++s) {
      for (std::size_t i = 0; next != nullptr && i < (both ? 2 : 1) * kSide; ++i)
        __builtin_prefetch(static_cast<const char*>(next[i]) + s * 64, 0, 2);
      _tile_loadd(4, q + s * kTile, kSide * sizeof(std::uint32_t));
      _tile_loadd(2, first.data + s * 64, first.stride);
      _tile_dpbf16ps(0, 2, 4);
      if (!both) continue;
      _tile_loadd(3, second.data + s * 64, second.stride);
      _tile_dpbf16ps(1, 3, 4);
    }
    _tile_stored(0, scores, kSide * sizeof(float));
    if (both) _tile_stored(1, scores + kTile, kSide * sizeof(float));
    asm volatile("" : : : "memory");
  }

  // to[query][key] = scores[key][query] * scales[key], of `count` queries.
  static HWY_INLINE void Transpose(const float* HWY_RESTRICT scores, std::size_t count,
                                   const float* HWY_RESTRICT scales, float* HWY_RESTRICT to) {
    const Tag<float> d;
    const auto scale = hn::Load(d, scales);
    const float* rows[kSide];
    for (std::size_t i = 0; i < kSide; ++i) rows[i] = scores + i * kSide;
    for (std::size_t q = 0; q < count; q += 4) {
      Vec<float> v[4];
#pragma GCC unroll 4
      for (std::size_t i = 0; i < 4; ++i) v[i] = LoadBlocks<float>(rows + i, q);
      TransposeBlocks(d, v);
#pragma GCC unroll 4
      for (std::size_t i = 0; i < 4; ++i) {
        if (q + i < count) hn::Store(hn::Mul(v[i], scale), d, to + (q + i) * kWidth<float>);
      }
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
