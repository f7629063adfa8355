// SPDX-License-Identifier: Apache-2.0
// Weights of one group of rows and a chunk of keys, as sinks take them.

#if defined(REGARD_KERNELS_MAP_STRIP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_STRIP_INL_H_
#undef REGARD_KERNELS_MAP_STRIP_INL_H_
#else
#define REGARD_KERNELS_MAP_STRIP_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "core/kernels/carve.h"
#include "core/kernels/map/map_task.h"
#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The rows or keys of a group or chunk, as tensors number them: one after another, or, where a
// sequence is taken in another order, by it.
struct MapAxis {
  std::int64_t first;                   // that of place 0, or what the order counts from
  const std::int32_t* order = nullptr;  // from place 0 on
  std::int64_t At(std::int64_t place) const {
    return first + (order == nullptr ? place : order[place]);
  }
};

template <typename T>
struct MapStrip {
  MapAxis rows;                 // from the group's first on
  std::size_t begin, end;       // its rows that the item owns
  const T* const* tiles;        // [kRows][kWidth] each, 0 where hidden; what no tile holds is 0
  const std::uint16_t* panels;  // which panel of the chunk a tile is; ascending
  std::size_t count;
};

// The head of an answer that an item writes: rows count from the region's first.
inline RowsView HeadOfAnswer(const MapTask& task, const MutableTensorView& view,
                             const MapItem& item) {
  return RowsView::of(view, item.batch - task.region.batch_begin,
                      task.mean ? 0 : item.head_begin - task.region.head_begin, 0);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
