// SPDX-License-Identifier: Apache-2.0
// The keys with the largest weights of each row.

#if defined(REGARD_KERNELS_MAP_TOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_TOP_INL_H_
#undef REGARD_KERNELS_MAP_TOP_INL_H_
#else
#define REGARD_KERNELS_MAP_TOP_INL_H_
#endif

#include <limits>
#include <span>

#include "core/kernels/map/map_best-inl.h"
#include "core/kernels/map/map_strip-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
class TopSink {
 public:
  TopSink(const MapTask& task, Carve& carve) : task_(task) {
    if (task.kind != MapTask::Kind::kTop) return;
    best_.Allocate(carve, static_cast<std::size_t>(task.most_rows),
                   static_cast<std::size_t>(task.out.shape[3]));
  }

  void Begin(const MapItem& item) {
    begin_ = item.begin;
    best_.Begin(static_cast<std::size_t>(item.end - item.begin));
  }

  void Take(const MapStrip<T>& strip, std::int64_t chunk_key) {
    for (std::size_t r = strip.begin; r < strip.end; ++r) {
      const auto row =
          static_cast<std::size_t>(strip.rows.At(static_cast<std::int64_t>(r)) - begin_);
      for (std::size_t u = 0; u < strip.count; ++u) {
        const T* HWY_RESTRICT weights = strip.tiles[u] + r * kWidth<T>;
        const std::int64_t key = chunk_key + static_cast<std::int64_t>(strip.panels[u] * kWidth<T>);
        for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>)
          best_.Take(row, weights + lane, key + static_cast<std::int64_t>(lane));
      }
    }
  }

  void End(const MapItem& item) {
    const RowsView weights = HeadOfAnswer(task_, task_.out, item),
                   keys = HeadOfAnswer(task_, task_.keys, item);
    for (std::int64_t i = item.begin; i < item.end; ++i) {
      const auto row = static_cast<std::size_t>(i - begin_);
      const bool spoilt = best_.spoilt(row);
      const auto found = best_.Sorted(row);
      for (std::size_t n = 0; n < best_.most(); ++n) {
        T weight = spoilt ? std::numeric_limits<T>::quiet_NaN() : T{0};
        std::int64_t key = -1;
        if (n < found.size() && !spoilt) {
          weight = RankedKey<T>::WeightOf(found[n]);
          key = RankedKey<T>::KeyOf(found[n]);
        }
        const auto rank = static_cast<std::int64_t>(n), at = i - task_.region.row_begin;
        static_cast<T*>(const_cast<void*>(weights.base))[at * weights.row + rank * weights.col] =
            weight;
        static_cast<std::int64_t*>(const_cast<void*>(keys.base))[at * keys.row + rank * keys.col] =
            key;
      }
    }
  }

 private:
  const MapTask& task_;
  BestOfRows<T> best_;
  std::int64_t begin_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
