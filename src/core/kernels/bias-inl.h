// s <- s + bias, from any strided tensor, and the gradient that it gathers.

#if defined(REGARD_KERNELS_BIAS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BIAS_INL_H_
#undef REGARD_KERNELS_BIAS_INL_H_
#else
#define REGARD_KERNELS_BIAS_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/rows-inl.h"
#include "core/kernels/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
HWY_NOINLINE void ApplyBias(const Stage& stage, const ScoreTile<T>& tile) {
  const Tag<T> d;
  const TileStrides s = StridesOf(stage.tensor, tile);
  const DType dtype = stage.tensor.dtype;
  const void* base = stage.tensor.data;
  const bool side_by_side = s.lane == 1 && InKernelWidth<T>(dtype);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    T* HWY_RESTRICT to = tile.data + r * kWidth<T>;
    const std::int64_t at = s.first + static_cast<std::int64_t>(r) * s.row;
    std::size_t c = 0;
    if (s.lane == 0) {
      const auto value = hn::Set(d, ElementAs<T>(dtype, base, at));
      for (; c < kWidth<T>; c += kLanes<T>) hn::Store(hn::Add(hn::Load(d, to + c), value), d, to + c);
      continue;
    }
    if (side_by_side) {
      for (; c + kLanes<T> <= tile.lanes; c += kLanes<T>) {
        hn::Store(hn::Add(hn::Load(d, to + c), LoadAs(d, dtype, base, at + static_cast<std::int64_t>(c))), d, to + c);
      }
    }
    for (; c < tile.lanes; ++c) to[c] += ElementAs<T>(dtype, base, at + static_cast<std::int64_t>(c) * s.lane);
  }
}

// Adds the tile's gradient to the bias gradient's own shape. What a broadcast axis gathers is summed within the tile first: the total then
// has two short sums behind it instead of one long one, and rounds less.
template <typename T>
HWY_NOINLINE void AddBiasGradient(const Stage& stage, const ScoreTile<T>& gradient) {
  if (!stage.gradient.given()) return;
  const Tag<T> d;
  const TileStrides s = StridesOf(stage.gradient, gradient);
  T* base = static_cast<T*>(stage.gradient.data) + s.first;
  HWY_ALIGN T row_sum[kWidth<T>];
  const bool over_rows = s.row == 0;
  const std::size_t rows = over_rows ? 1 : gradient.rows;
  for (std::size_t r = 0; r < rows; ++r) {
    const T* HWY_RESTRICT from = gradient.data + r * kWidth<T>;
    if (over_rows) {
      for (std::size_t c = 0; c < kWidth<T>; c += kLanes<T>) {
        auto sum = hn::Load(d, from + c);
        for (std::size_t i = 1; i < gradient.rows; ++i) sum = hn::Add(sum, hn::Load(d, from + i * kWidth<T> + c));
        hn::Store(sum, d, row_sum + c);
      }
      from = row_sum;
    }
    T* to = base + static_cast<std::int64_t>(r) * s.row;
    std::size_t c = 0;
    if (s.lane == 0) {
      T sum = from[0];
      for (c = 1; c < gradient.lanes; ++c) sum += from[c];
      to[0] += sum;
      continue;
    }
    if (s.lane == 1) {
      for (; c + kLanes<T> <= gradient.lanes; c += kLanes<T>) hn::StoreU(hn::Add(hn::LoadU(d, to + c), hn::Load(d, from + c)), d, to + c);
    }
    for (; c < gradient.lanes; ++c) to[static_cast<std::int64_t>(c) * s.lane] += from[c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
