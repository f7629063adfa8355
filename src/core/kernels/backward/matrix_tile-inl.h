// SPDX-License-Identifier: Apache-2.0
// One tile of the backward pass where a matrix unit makes the products, in memory: while it makes
// those of the next tile, the vector units are at this one's.

#if defined(REGARD_KERNELS_MATRIX_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MATRIX_TILE_INL_H_
#undef REGARD_KERNELS_MATRIX_TILE_INL_H_
#else
#define REGARD_KERNELS_MATRIX_TILE_INL_H_
#endif

#include "core/kernels/backward/backward_tile-inl.h"
#include "core/kernels/carve.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// K Q^T and V dO^T, [2][kRows][kWidth].
template <class Ops>
HWY_INLINE void MultiplyBackwardTile(const BackwardTile<Ops>& tile,
                                     typename Ops::T* HWY_RESTRICT products) {
  using Part = OnePart<typename Ops::Packed>;
  constexpr auto kStride = static_cast<std::int64_t>(kWidth<typename Ops::T>);
  SumPartsInto<Ops, kRows, 2>(1, Part{{tile.keys, {tile.queries, kStride}, tile.inner}}, nullptr,
                              products);
  SumPartsInto<Ops, kRows, 2>(1, Part{{tile.values, {tile.d_outs, kStride}, tile.inner_v}}, nullptr,
                              products + kRows * kStride);
}

// What PlainBackwardTile does with products.
template <class Ops, bool kPartial>
HWY_NOINLINE void WeighBackwardTile(const BackwardTile<Ops>& tile,
                                    const typename Ops::T* HWY_RESTRICT products) {
  using T = typename Ops::T;
  const Tag<T> d;
  constexpr std::size_t kRow = kQueryChunk / Ops::kPair;
  Vec<T> maximum[2], factor[2], shift[2];
  ExpEnd<Vec<T>> end[2];
#pragma GCC unroll 2
  for (std::size_t v = 0; v < 2; ++v) {
    maximum[v] = hn::Load(d, tile.lanes.maximum + v * kLanes<T>);
    factor[v] = hn::Load(d, tile.lanes.factor + v * kLanes<T>);
    end[v] = tile.lanes.end(v * kLanes<T>);
    shift[v] = hn::Load(d, tile.lanes.shift + v * kLanes<T>);
  }
  for (std::size_t r = 0; r < kRows; r += 2) {
    Vec<typename Ops::Packed> rounded[2];
#pragma GCC unroll 2
    for (std::size_t k = 0; k < 2; ++k) {
      Vec<T> p[2], ds[2];
#pragma GCC unroll 2
      for (std::size_t v = 0; v < 2; ++v) {
        const T* HWY_RESTRICT at = products + (r + k) * kWidth<T> + v * kLanes<T>;
        p[v] =
            hn::Mul(Ops::Weight(hn::Load(d, at), tile.score_factor, maximum[v], end[v]), factor[v]);
        ds[v] = hn::Mul(p[v], hn::Add(hn::Load(d, at + kRows * kWidth<T>), shift[v]));
        if constexpr (kPartial) {
          const auto seen = SeenBy<T>(tile.words, r + k, v * kLanes<T>);
          p[v] = hn::IfThenElseZero(seen, p[v]);
          ds[v] = hn::IfThenElseZero(seen, ds[v]);
        }
      }
      Ops::StoreRow(p[0], p[1], tile.weights + (r + k) * kRow);
      rounded[k] = Ops::Round(ds[0], ds[1]);
      hn::Store(rounded[k], Tag<typename Ops::Packed>(), tile.d_scores + (r + k) * kRow);
    }
    Ops::StorePairs(rounded[0], rounded[1],
                    tile.d_scores_by_query + r / 2 * static_cast<std::size_t>(kQueryChunk));
  }
}

// Tiles one after another: products of the one that comes, then what follows those of the one
// before.
template <class Ops>
class TilesAhead {
  using T = typename Ops::T;

 public:
  void Take(Carve& carve) {
    for (Slot& slot : slots_) {
      slot.products = carve.Take<T>(2 * kRows * kWidth<T>);
      slot.words = carve.Take<Unsigned<T>>(kWidth<T>);
    }
  }

  // Memory for the words of the tile that comes next.
  Unsigned<T>* words() { return slots_[1 - turn_].words; }
  // `lanes` of it hold a query.
  void Run(const BackwardTile<Ops>& tile, std::size_t lanes) {
    Slot& slot = slots_[1 - turn_];
    MultiplyBackwardTile(tile, slot.products);
    Finish();
    turn_ = 1 - turn_;
    slot.tile = tile;
    slot.waits = true;
    HideBehind(lanes, slot.words, &slot.tile);
  }
  // Nothing comes behind the tiles so far.
  void Finish() {
    Slot& slot = slots_[turn_];
    if (!slot.waits) return;
    slot.tile.words != nullptr ? WeighBackwardTile<Ops, true>(slot.tile, slot.products)
                               : WeighBackwardTile<Ops, false>(slot.tile, slot.products);
    slot.waits = false;
  }

 private:
  struct Slot {
    T* products;
    Unsigned<T>* words;
    BackwardTile<Ops> tile;
    bool waits = false;
  };
  Slot slots_[2];
  std::size_t turn_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
