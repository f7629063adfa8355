// SPDX-License-Identifier: Apache-2.0
// s <- s + what a table holds for how two positions lie to each other.

#if defined(REGARD_KERNELS_RELATIVE_BIAS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_RELATIVE_BIAS_INL_H_
#undef REGARD_KERNELS_RELATIVE_BIAS_INL_H_
#else
#define REGARD_KERNELS_RELATIVE_BIAS_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The table spread out over all differences of codes, in the kernel's own type: stage.tensor (.,
// heads or 1, 1, differences), its gradient likewise.
template <typename T>
struct RelativeLookup {
  const std::int32_t *rows, *lanes;  // codes of the tile's rows and lanes
  std::int64_t sign;                 // difference = first + sign * (lane's code - row's code)
  std::int64_t first;

  RelativeLookup(const RelativeBias& bias, const ScoreTile<T>& tile)
      : sign(tile.rows_are_keys ? -1 : 1), first(bias.shift) {
    const auto *queries = static_cast<const std::int32_t*>(bias.query_code.data) + tile.query,
               *keys = static_cast<const std::int32_t*>(bias.key_code.data) + tile.key;
    rows = tile.rows_are_keys ? keys : queries;
    lanes = tile.rows_are_keys ? queries : keys;
  }
  std::int64_t at(std::size_t r, std::size_t c) const {
    return first + sign * (static_cast<std::int64_t>(lanes[c]) - rows[r]);
  }
};

template <typename T>
HWY_NOINLINE void Apply(const RelativeBias& bias, const Stage& stage, const ScoreTile<T>& tile) {
  const T* table = static_cast<const T*>(stage.tensor.data) + tile.head * stage.tensor.strides[1];
  const RelativeLookup<T> lookup(bias, tile);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    for (std::size_t c = 0; c < tile.lanes; ++c)
      tile.data[r * kWidth<T> + c] += table[lookup.at(r, c)];
  }
}

template <typename T>
HWY_NOINLINE void Derive(const RelativeBias& bias, const Stage& stage, const ScoreTile<T>& gradient,
                         const T* /*kept*/) {
  if (!stage.gradient.given()) return;
  T* sums = static_cast<T*>(stage.gradient.data) + gradient.head * stage.gradient.strides[1];
  const RelativeLookup<T> lookup(bias, gradient);
  for (std::size_t r = 0; r < gradient.rows; ++r) {
    for (std::size_t c = 0; c < gradient.lanes; ++c)
      sums[lookup.at(r, c)] += gradient.data[r * kWidth<T> + c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
