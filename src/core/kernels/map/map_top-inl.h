// SPDX-License-Identifier: Apache-2.0
// The keys with the largest weights of each row.

#if defined(REGARD_KERNELS_MAP_TOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_TOP_INL_H_
#undef REGARD_KERNELS_MAP_TOP_INL_H_
#else
#define REGARD_KERNELS_MAP_TOP_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/kernels/map/map_strip-inl.h"
#include "hwy/contrib/sort/vqsort.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// A key and its weight, which is positive, as one number: the larger weight is the larger number,
// and of equal weights the lower key. (Bits of positive floats are ordered as they are.)
template <typename T>
struct RankedKey;

template <>
struct RankedKey<float> {
  using Rank = std::uint64_t;
  static Rank Of(float weight, std::int64_t key) {
    std::uint32_t bits;
    std::memcpy(&bits, &weight, 4);
    return std::uint64_t{bits} << 32 | static_cast<std::uint32_t>(~key);
  }
  static float WeightOf(Rank rank) {
    const auto bits = static_cast<std::uint32_t>(rank >> 32);
    float weight;
    std::memcpy(&weight, &bits, 4);
    return weight;
  }
  static std::int64_t KeyOf(Rank rank) { return static_cast<std::uint32_t>(~rank); }
};

template <>
struct RankedKey<double> {
  using Rank = hwy::uint128_t;
  static Rank Of(double weight, std::int64_t key) {
    Rank rank;
    std::memcpy(&rank.hi, &weight, 8);
    rank.lo = ~static_cast<std::uint64_t>(key);
    return rank;
  }
  static double WeightOf(const Rank& rank) {
    double weight;
    std::memcpy(&weight, &rank.hi, 8);
    return weight;
  }
  static std::int64_t KeyOf(const Rank& rank) { return static_cast<std::int64_t>(~rank.lo); }
};

// Each row gathers what is above its bound. When there is no more room, all but the best are
// forgotten, of which the least is the new bound: at least as many must come before that happens
// again, so that sorting costs the same for each. Keys come in ascending order: of equal weights
// the first is kept.
template <typename T>
class TopSink {
 public:
  TopSink(const MapTask& task, Carve& carve) : task_(task) {
    if (task.kind != MapTask::Kind::kTop) return;
    most_ = static_cast<std::size_t>(task.out.shape[3]);
    room_ = most_ + std::max(most_, kLeastRoom);
    const auto rows = static_cast<std::size_t>(task.most_rows);
    found_ = carve.Take<Rank>(rows * room_);
    counts_ = carve.Take<std::size_t>(rows);
    bounds_ = carve.Take<T>(rows);
    spoilt_ = carve.Take<bool>(rows);
  }

  void Begin(const MapItem& item) {
    begin_ = item.begin;
    if (!sorter_) sorter_.emplace();
    std::fill_n(counts_, item.end - item.begin, std::size_t{0});
    std::fill_n(bounds_, item.end - item.begin, T{0});  // only positive weights count
    std::fill_n(spoilt_, item.end - item.begin, false);
  }

  void Take(const MapStrip<T>& strip, std::int64_t chunk_key) {
    for (std::size_t r = strip.begin; r < strip.end; ++r) {
      const auto row =
          static_cast<std::size_t>(strip.rows.At(static_cast<std::int64_t>(r)) - begin_);
      for (std::size_t u = 0; u < strip.count; ++u) {
        const T* HWY_RESTRICT weights = strip.tiles[u] + r * kWidth<T>;
        const std::int64_t key = chunk_key + static_cast<std::int64_t>(strip.panels[u] * kWidth<T>);
        for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>)
          TakeVector(row, weights + lane, key + static_cast<std::int64_t>(lane));
      }
    }
  }

  void End(const MapItem& item) {
    const RowsView weights = HeadOfAnswer(task_, task_.out, item),
                   keys = HeadOfAnswer(task_, task_.keys, item);
    for (std::int64_t i = item.begin; i < item.end; ++i) {
      const auto row = static_cast<std::size_t>(i - begin_);
      const Rank* found = found_ + row * room_;
      KeepBest(row);
      for (std::size_t n = 0; n < most_; ++n) {
        T weight = spoilt_[row] ? std::numeric_limits<T>::quiet_NaN() : T{0};
        std::int64_t key = -1;
        if (n < counts_[row] && !spoilt_[row]) {
          weight = Ranked::WeightOf(found[n]);
          key = Ranked::KeyOf(found[n]);
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
  using Ranked = RankedKey<T>;
  using Rank = typename Ranked::Rank;
  static constexpr std::size_t kLeastRoom = 64;

  HWY_INLINE void TakeVector(std::size_t row, const T* HWY_RESTRICT weights, std::int64_t key) {
    const Tag<T> d;
    const auto p = hn::Load(d, weights);
    const auto above = hn::Gt(p, hn::Set(d, bounds_[row]));
    if (HWY_UNLIKELY(!hn::AllFalse(d, hn::IsNaN(p)))) spoilt_[row] = true;
    if (hn::AllFalse(d, above)) return;
    std::uint8_t bytes[8] = {};
    hn::StoreMaskBits(d, above, bytes);
    std::uint64_t bits;
    std::memcpy(&bits, bytes, 8);
    if (counts_[row] + kLanes < T >> room_) KeepBest(row);
    Rank* HWY_RESTRICT found = found_ + row * room_;
    std::size_t count = counts_[row];
    for (; bits != 0; bits &= bits - 1) {
      const auto lane = hwy::Num0BitsBelowLS1Bit_Nonzero64(bits);
      found[count++] = Ranked::Of(weights[lane], key + static_cast<std::int64_t>(lane));
    }
    counts_[row] = count;
  }

  // Sorts what a row has found, and forgets what is behind the best.
  HWY_NOINLINE void KeepBest(std::size_t row) {
    Rank* found = found_ + row * room_;
    (*sorter_)(found, counts_[row], hwy::SortDescending());
    if (counts_[row] < most_) return;
    counts_[row] = most_;
    bounds_[row] = Ranked::WeightOf(found[most_ - 1]);
  }

  const MapTask& task_;
  std::optional<hwy::Sorter> sorter_;  // allocates: only where it is wanted
  std::size_t most_ = 0, room_ = 0;
  Rank* found_ = nullptr;
  std::size_t* counts_ = nullptr;
  T* bounds_ = nullptr;
  bool* spoilt_ = nullptr;
  std::int64_t begin_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
