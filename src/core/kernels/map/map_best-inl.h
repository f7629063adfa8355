// SPDX-License-Identifier: Apache-2.0
// Of many weights that come for each of some rows, the largest and their keys.

#if defined(REGARD_KERNELS_MAP_BEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_BEST_INL_H_
#undef REGARD_KERNELS_MAP_BEST_INL_H_
#else
#define REGARD_KERNELS_MAP_BEST_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <span>

#include "core/kernels/carve.h"
#include "core/kernels/tile/simd-inl.h"
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

// Each row gathers what is above its bound. When there is no more room, the bound rises to a weight
// that about as many are above as are wanted, and what is not above it is forgotten: the bits of
// positive numbers are ordered as they are, so that the bound is found by halving their range and
// counting. Nothing is sorted before the end, and what is kept stays in ascending order of its
// keys: of equal weights the first is kept.
template <typename T>
class BestOfRows {
 public:
  using Ranked = RankedKey<T>;

  // Room for the `most` largest of each of `rows` rows.
  void Allocate(Carve& carve, std::size_t rows, std::size_t most) {
    most_ = most;
    room_ = most_ + std::max(most_, kLeastRoom);
    stride_ = room_ + kLanes<T>;
    weights_ = carve.Take<T>(rows * stride_);
    keys_ = carve.Take<Key>(rows * stride_);
    ranks_ = carve.Take<Rank>(room_);
    counts_ = carve.Take<std::size_t>(rows);
    bounds_ = carve.Take<T>(rows);
    spoilt_ = carve.Take<bool>(rows);
  }

  void Begin(std::size_t rows) {
    if (!sorter_) sorter_.emplace();
    std::fill_n(counts_, rows, std::size_t{0});
    std::fill_n(bounds_, rows, T{0});  // only positive weights count
    std::fill_n(spoilt_, rows, false);
  }

  // A vector of weights, aligned, of keys from `key` on; a row's keys come in ascending order.
  void Take(std::size_t row, const T* HWY_RESTRICT weights, std::int64_t key) {
    const Tag<T> d;
    const Tag<Key> dk;
    const auto p = hn::Load(d, weights);
    const auto above = hn::Gt(p, hn::Set(d, bounds_[row]));
    if (HWY_UNLIKELY(!hn::AllFalse(d, hn::IsNaN(p)))) spoilt_[row] = true;
    if (hn::AllFalse(d, above)) return;
    if (room_ - counts_[row] < kLanes<T>) {
      Forget(row);
      return Take(row, weights, key);  // the bound has risen
    }
    counts_[row] +=
        Append(p, hn::Iota(dk, static_cast<Key>(key)), above, row * stride_ + counts_[row]);
  }

  // Whether a weight of the row was NaN.
  bool spoilt(std::size_t row) const { return spoilt_[row]; }
  std::size_t most() const { return most_; }

  // Ends a row: its best, as ranks, the largest weight first. They stay until the next call.
  std::span<const typename Ranked::Rank> Sorted(std::size_t row) {
    if (counts_[row] > Enough()) Forget(row);
    const std::size_t at = row * stride_;
    for (std::size_t n = 0; n < counts_[row]; ++n)
      ranks_[n] = Ranked::Of(weights_[at + n], static_cast<std::int64_t>(keys_[at + n]));
    (*sorter_)(ranks_, counts_[row], hwy::SortDescending());
    return {ranks_, std::min(counts_[row], most_)};
  }

 private:
  using Rank = typename Ranked::Rank;
  using Key = hwy::MakeUnsigned<T>;  // as wide as a weight: one mask serves both
  static constexpr std::size_t kLeastRoom = 64;

  // Writes the chosen lanes side by side, from place `at` on; says how many. Up to a vector behind
  // them is overwritten.
  HWY_INLINE std::size_t Append(hn::Vec<Tag<T>> weights, hn::Vec<Tag<Key>> keys,
                                hn::Mask<Tag<T>> chosen, std::size_t at) {
    const Tag<T> d;
    const Tag<Key> dk;
    if constexpr (HWY_TARGET <= HWY_AVX3) {
      hn::CompressStore(keys, hn::RebindMask(dk, chosen), dk, keys_ + at);
      return hn::CompressStore(weights, chosen, d, weights_ + at);
    }
    // Without an instruction for it that takes several times as long as lane by lane.
    HWY_ALIGN T each[kLanes<T>];
    HWY_ALIGN Key key[kLanes<T>];
    hn::Store(weights, d, each);
    hn::Store(keys, dk, key);
    std::uint8_t bytes[8] = {};
    hn::StoreMaskBits(d, chosen, bytes);
    std::uint64_t bits;
    std::memcpy(&bits, bytes, 8);
    std::size_t count = 0;
    for (; bits != 0; bits &= bits - 1, ++count) {
      const auto lane = hwy::Num0BitsBelowLS1Bit_Nonzero64(bits);
      weights_[at + count] = each[lane];
      keys_[at + count] = key[lane];
    }
    return count;
  }

  // How many a row is left with at most: the bound need not be exact.
  std::size_t Enough() const { return most_ + (room_ - most_) / 4; }

  // Raises a row's bound and forgets what is not above it: at least as many as are wanted are left,
  // and no more than Enough().
  HWY_NOINLINE void Forget(std::size_t row) {
    const Tag<T> d;
    T* HWY_RESTRICT weights = weights_ + row * stride_;
    hn::StoreU(hn::Zero(d), d, weights + counts_[row]);  // zeros are above no bound
    auto largest = hn::Zero(d);
    for (std::size_t n = 0; n < counts_[row]; n += kLanes<T>)
      largest = hn::Max(largest, hn::LoadU(d, weights + n));
    // Weights that equal the bound may have been kept (KeepFirst()), so it starts below.
    Key low = std::max(std::bit_cast<Key>(bounds_[row]), Key{1}) - 1,
        high = std::bit_cast<Key>(hn::GetLane(hn::MaxOfLanes(d, largest)));
    std::size_t left = counts_[row];  // above `low`; fewer than wanted are above `high`
    while (left > Enough() && high - low > 1) {
      const Key middle = low + (high - low) / 2;
      const std::size_t count = CountAbove(weights, counts_[row], middle);
      (count >= most_ ? low : high) = middle;
      if (count >= most_) left = count;
    }
    bounds_[row] = std::bit_cast<T>(low);
    KeepAbove(row);
    if (left > Enough()) KeepFirst(row, std::bit_cast<T>(high));
  }

  static std::size_t CountAbove(const T* HWY_RESTRICT weights, std::size_t count, Key bound) {
    const Tag<T> d;
    const auto least = hn::Set(d, std::bit_cast<T>(bound));
    std::size_t above = 0;
    for (std::size_t n = 0; n < count; n += kLanes<T>)
      above += hn::CountTrue(d, hn::Gt(hn::LoadU(d, weights + n), least));
    return above;
  }

  void KeepAbove(std::size_t row) {
    const Tag<T> d;
    const Tag<Key> dk;
    T* weights = weights_ + row * stride_;
    Key* keys = keys_ + row * stride_;
    const auto least = hn::Set(d, bounds_[row]);
    std::size_t kept = 0;
    for (std::size_t n = 0; n < counts_[row]; n += kLanes<T>) {
      const auto p = hn::LoadU(d, weights + n);
      const auto above = hn::Gt(p, least);
      kept += Append(p, hn::LoadU(dk, keys + n), above, row * stride_ + kept);
    }
    hn::StoreU(hn::Zero(d), d, weights + kept);  // what was there must not be counted
    counts_[row] = kept;
  }

  // Where more weights equal `bound` than are wanted: no number lies between it and the row's
  // bound, and of the equal ones the first are kept.
  void KeepFirst(std::size_t row, T bound) {
    T* weights = weights_ + row * stride_;
    Key* keys = keys_ + row * stride_;
    std::size_t equal = most_ - CountAbove(weights, counts_[row], std::bit_cast<Key>(bound));
    std::size_t kept = 0;
    for (std::size_t n = 0; n < counts_[row]; ++n) {
      if (weights[n] == bound && equal == 0) continue;
      if (weights[n] == bound) --equal;
      weights[kept] = weights[n];
      keys[kept++] = keys[n];
    }
    counts_[row] = kept;
    bounds_[row] = bound;
  }

  std::optional<hwy::Sorter> sorter_;  // allocates: only where it is wanted
  std::size_t most_ = 0, room_ = 0, stride_ = 0;
  T* weights_ = nullptr;
  Key* keys_ = nullptr;
  Rank* ranks_ = nullptr;
  std::size_t* counts_ = nullptr;
  T* bounds_ = nullptr;
  bool* spoilt_ = nullptr;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
