// SPDX-License-Identifier: Apache-2.0
// s <- s - slope * |i + offset - j| (ALiBi).

#if defined(REGARD_KERNELS_ALIBI_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ALIBI_INL_H_
#undef REGARD_KERNELS_ALIBI_INL_H_
#else
#define REGARD_KERNELS_ALIBI_INL_H_
#endif

#include <cstdlib>
#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The distance of (row 0, lane 0), and what a row and a lane add to it.
struct AlibiSteps {
  std::int64_t first, row, lane;
};
template <typename T>
HWY_INLINE AlibiSteps DistancesOf(const ScoreTile<T>& tile) {
  const std::int64_t first = tile.i + tile.offset - tile.j;
  return tile.rows_are_keys ? AlibiSteps{first, -1, 1} : AlibiSteps{first, 1, -1};
}

// The distances of one row's lanes [c, c + a vector).
template <typename T>
HWY_INLINE Vec<T> Distances(const AlibiSteps& steps, std::size_t r, std::size_t c) {
  const Tag<T> d;
  const std::int64_t first = steps.first + static_cast<std::int64_t>(r) * steps.row +
                             static_cast<std::int64_t>(c) * steps.lane;
  return hn::MulAdd(hn::Iota(d, T{0}), hn::Set(d, static_cast<T>(steps.lane)),
                    hn::Set(d, static_cast<T>(first)));
}

// Whole numbers below 2^24 are exact in float, and then a row's distances are those of the row
// before and one more or less; beyond it they round like everything else.
template <typename T>
HWY_INLINE bool AreExact(const AlibiSteps& steps, const ScoreTile<T>& tile) {
  const auto farthest = std::abs(steps.first) + static_cast<std::int64_t>(tile.rows + kWidth<T>);
  return farthest < (std::int64_t{1} << 24);
}

template <typename T>
HWY_NOINLINE void Apply(const Alibi&, const Stage& stage, const ScoreTile<T>& tile) {
  const Tag<T> d;
  const auto slope = hn::Set(d, HeadElement(stage.tensor, tile));
  const AlibiSteps steps = DistancesOf(tile);
  const bool exact = AreExact(steps, tile);
  const auto next_row = hn::Set(d, static_cast<T>(steps.row));
  for (std::size_t c = 0; c < kWidth<T>; c += kLanes<T>) {
    auto distances = Distances<T>(steps, 0, c);
    for (std::size_t r = 0; r < tile.rows; ++r) {
      T* HWY_RESTRICT at = tile.data + r * kWidth<T> + c;
      hn::Store(hn::NegMulAdd(slope, hn::Abs(distances), hn::Load(d, at)), d, at);
      distances = exact ? hn::Add(distances, next_row) : Distances<T>(steps, r + 1, c);
    }
  }
}

template <typename T>
HWY_NOINLINE void Derive(const Alibi&, const Stage& stage, const ScoreTile<T>& gradient,
                         const T* /*kept*/) {
  if (stage.partials == nullptr) return;
  const AlibiSteps steps = DistancesOf(gradient);
  double sum = 0;
  for (std::size_t r = 0; r < gradient.rows; ++r) {
    for (std::size_t c = 0; c < gradient.lanes; ++c) {
      const std::int64_t distance =
          std::abs(steps.first + static_cast<std::int64_t>(r) * steps.row +
                   static_cast<std::int64_t>(c) * steps.lane);
      sum += static_cast<double>(gradient.data[r * kWidth<T> + c]) * static_cast<double>(distance);
    }
  }
  stage.partials[gradient.slot] -= sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
