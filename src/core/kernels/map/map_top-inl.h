// The keys with the largest weights of each row.

#if defined(REGARD_KERNELS_MAP_TOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_TOP_INL_H_
#undef REGARD_KERNELS_MAP_TOP_INL_H_
#else
#define REGARD_KERNELS_MAP_TOP_INL_H_
#endif

#include "core/kernels/map/map_strip-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Each row keeps a heap of what it has found, the least at its top. Keys come in ascending order,
// so that of equal weights the first is kept.
template <typename T>
class TopSink {
 public:
  TopSink(const MapTask& task, Carve& carve) : task_(task) {
    if (task.kind != MapTask::Kind::kTop) return;
    most_ = static_cast<std::size_t>(task.out.shape[3]);
    const auto rows = static_cast<std::size_t>(task.most_rows);
    found_ = carve.Take<Found>(rows * most_);
    counts_ = carve.Take<std::size_t>(rows);
    spoilt_ = carve.Take<bool>(rows);
  }

  void Begin(const MapItem& item) {
    begin_ = item.begin;
    std::fill_n(counts_, item.end - item.begin, std::size_t{0});
    std::fill_n(spoilt_, item.end - item.begin, false);
  }

  void Take(const MapStrip<T>& strip, std::int64_t chunk_key) {
    for (std::size_t r = strip.begin; r < strip.end; ++r) {
      const auto row =
          static_cast<std::size_t>(strip.rows.At(static_cast<std::int64_t>(r)) - begin_);
      for (std::size_t u = 0; u < strip.count; ++u) {
        const T* HWY_RESTRICT weights = strip.tiles[u] + r * kWidth<T>;
        if (NothingAbove(weights, Bound(row))) continue;
        const std::int64_t key = chunk_key + static_cast<std::int64_t>(strip.panels[u] * kWidth<T>);
        for (std::size_t lane = 0; lane < kWidth<T>; ++lane)
          Insert(row, weights[lane], key + static_cast<std::int64_t>(lane));
      }
    }
  }

  void End(const MapItem& item) {
    const RowsView weights = HeadOfAnswer(task_, task_.out, item),
                   keys = HeadOfAnswer(task_, task_.keys, item);
    for (std::int64_t i = item.begin; i < item.end; ++i) {
      const auto row = static_cast<std::size_t>(i - begin_);
      Found* found = found_ + row * most_;
      std::sort_heap(found, found + counts_[row], Better);
      for (std::size_t n = 0; n < most_; ++n) {
        const Found none{spoilt_[row] ? std::numeric_limits<T>::quiet_NaN() : T{0}, -1};
        const Found one = n < counts_[row] && !spoilt_[row] ? found[n] : none;
        const auto rank = static_cast<std::int64_t>(n), at = i - task_.region.row_begin;
        static_cast<T*>(const_cast<void*>(weights.base))[at * weights.row + rank * weights.col] =
            one.weight;
        static_cast<std::int64_t*>(const_cast<void*>(keys.base))[at * keys.row + rank * keys.col] =
            one.key;
      }
    }
  }

 private:
  struct Found {
    T weight;
    std::int64_t key;
  };
  static bool Better(const Found& a, const Found& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.key < b.key;
  }

  // What a weight must be above: only positive ones count.
  T Bound(std::size_t row) const {
    return counts_[row] < most_ ? T{0} : found_[row * most_].weight;
  }

  static HWY_INLINE bool NothingAbove(const T* HWY_RESTRICT weights, T bound) {
    const Tag<T> d;
    const auto p0 = hn::Load(d, weights), p1 = hn::Load(d, weights + kLanes<T>),
               least = hn::Set(d, bound);
    const auto above = hn::Or(hn::Gt(p0, least), hn::Gt(p1, least)),
               nan = hn::Or(hn::IsNaN(p0), hn::IsNaN(p1));
    return hn::AllFalse(d, hn::Or(above, nan));
  }

  void Insert(std::size_t row, T weight, std::int64_t key) {
    if (weight != weight) spoilt_[row] = true;
    if (!(weight > Bound(row))) return;
    Found* found = found_ + row * most_;
    std::size_t& count = counts_[row];
    if (count == most_) {
      std::pop_heap(found, found + count, Better);
    } else {
      ++count;
    }
    found[count - 1] = {weight, key};
    std::push_heap(found, found + count, Better);
  }

  const MapTask& task_;
  std::size_t most_ = 0;
  Found* found_ = nullptr;
  std::size_t* counts_ = nullptr;
  bool* spoilt_ = nullptr;
  std::int64_t begin_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
