// SPDX-License-Identifier: Apache-2.0
// Which tiles of a block of keys and a chunk of queries exist, in the backward pass.

#if defined(REGARD_KERNELS_BACKWARD_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BACKWARD_TILES_INL_H_
#undef REGARD_KERNELS_BACKWARD_TILES_INL_H_
#else
#define REGARD_KERNELS_BACKWARD_TILES_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "core/kernels/kernels.h"
#include "core/kernels/tile/panels-inl.h"
#include "core/kernels/tile/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// A chunk of queries and a sub-block of keys: first rows in their sequence, and how many queries,
// keys and groups of kRows keys there are.
struct SubBlock {
  std::size_t sequence;
  std::int32_t head;
  std::int64_t query;
  std::size_t queries;
  std::int64_t key;
  std::size_t keys, groups;
};

template <typename T>
struct BackwardTiles {
  static constexpr std::size_t kQueries = static_cast<std::size_t>(kQueryChunk);
  static constexpr std::size_t kPanels = kQueries / kWidth<T>;  // query panels of a chunk
  static constexpr std::size_t kSubKeys =
      kMostSubKeys;  // keys whose P and dS are at hand at a time, at the most; words cover 128
  static constexpr std::size_t kSubGroups = kSubKeys / kRows;
  static constexpr std::size_t kUnits = kQueries / static_cast<std::size_t>(plan::kRowUnit);
  static_assert(kQueries % kWidth<T> == 0 && kSubKeys % kRows == 0 &&
                kQueries % plan::kRowUnit == 0);
  static_assert(kPanels <= Runs::kMost && (kSubGroups + 1) / 2 <= Runs::kMost);

  plan::Seen states[kPanels][kSubGroups];  // by query panel and key group
  UsedLanes seeing[kPanels][kSubGroups];   // queries that see some of the keys: of partial tiles
                                           // for which WordsOf() was called
  std::uint64_t*
      words;  // [kPanels][2][kWidth]: visible keys of each query, where a panel has partial tiles

  // A chunk begins; calls of Find() for it go from the first key to the last.
  void Start() { std::fill_n(cursors_, kUnits, std::size_t{0}); }

  // `dead_maxima`: maxima of the queries where some of them see nothing (-infinity), else null.
  // Which (query panel, key group) tiles exist, from the plan's row units; whether there is one.
  bool Find(const plan::Layout& layout, const SubBlock& sub, const T* dead_maxima) {
    if (layout.mask == nullptr && dead_maxima == nullptr &&
        sub.key + static_cast<std::int64_t>(sub.keys) <= layout.sequences[sub.sequence].len_k) {
      for (std::size_t p = 0; p < kPanels; ++p) {
        std::fill_n(states[p], sub.groups,
                    p * kWidth<T> < sub.queries ? plan::Seen::kFull : plan::Seen::kAbsent);
      }
      return true;
    }
    bool some_exist = false;
    bool any[kUnits][kSubGroups] = {}, full[kUnits][kSubGroups] = {};
    const std::int64_t begin = sub.key, end = begin + static_cast<std::int64_t>(sub.groups * kRows);
    const std::int64_t first_unit = sub.query / plan::kRowUnit;
    const std::size_t units = (sub.queries + plan::kRowUnit - 1) / plan::kRowUnit;
    for (std::size_t u = 0; u < units; ++u) {
      const auto intervals =
          layout.unit(sub.sequence, sub.head, first_unit + static_cast<std::int64_t>(u));
      std::size_t& cursor = cursors_[u];
      if (cursor == 0)
        cursor = static_cast<std::size_t>(FirstBehind(intervals, begin) - intervals.begin());
      while (cursor < intervals.size() && intervals[cursor].end <= begin) ++cursor;
      for (auto i = intervals.begin() + static_cast<std::ptrdiff_t>(cursor);
           i != intervals.end() && i->begin < end; ++i) {
        some_exist = true;
        const std::size_t from =
            static_cast<std::size_t>(std::max<std::int64_t>(i->begin - begin, 0));
        const std::size_t to =
            static_cast<std::size_t>(std::min<std::int64_t>(i->end, end) - begin);
        for (std::size_t g = from / kRows; g * kRows < to; ++g) {
          any[u][g] = true;
          full[u][g] |= i->full && g * kRows >= from && std::min((g + 1) * kRows, sub.keys) <= to;
        }
      }
    }
    if (!some_exist) return false;
    for (std::size_t p = 0; p < kPanels; ++p) {
      const std::size_t from = p * kWidth<T> / plan::kRowUnit;
      const std::size_t to = std::min(units, ((p + 1) * kWidth<T> - 1) / plan::kRowUnit + 1);
      bool some_partial = false;
      for (std::size_t g = 0; g < sub.groups; ++g) {
        bool some = false, all = true;
        for (std::size_t u = from; u < to; ++u) {
          some |= any[u][g];
          all &= full[u][g];
        }
        states[p][g] = !some || p * kWidth<T> >= sub.queries ? plan::Seen::kAbsent
                       : all && dead_maxima == nullptr       ? plan::Seen::kFull
                                                             : plan::Seen::kPartial;
        some_partial |= states[p][g] == plan::Seen::kPartial;
      }
      if (some_partial) LookCloser(layout, sub, dead_maxima, p);
    }
    return true;
  }

  // Units of rows lie across panels, and speak for rows of both: by its bits a partial tile may
  // turn out to be absent or full.
  void LookCloser(const plan::Layout& layout, const SubBlock& sub, const T* dead_maxima,
                  std::size_t p) {
    MakeWords(layout, sub, dead_maxima, p);
    const std::uint64_t* own = words + p * 2 * kWidth<T>;
    const std::size_t queries = std::min(kWidth<T>, sub.queries - p * kWidth<T>);
    std::uint64_t some[2] = {0, 0}, all[2] = {~std::uint64_t{0}, ~std::uint64_t{0}};
    for (std::size_t half = 0; half < 2; ++half) {
      for (std::size_t i = 0; i < queries; ++i) {
        some[half] |= own[half * kWidth<T> + i];
        all[half] &= own[half * kWidth<T> + i];
      }
    }
    for (std::size_t g = 0; g < sub.groups; ++g) {
      if (states[p][g] != plan::Seen::kPartial) continue;
      if (GroupBits(some[0], some[1], g) == 0) {
        states[p][g] = plan::Seen::kAbsent;
      } else if (GroupBits(all[0], all[1], g) == kAllRows) {
        states[p][g] = plan::Seen::kFull;
      }
    }
  }

  // The bits of key group g of a sub-block, of the words for its first 64 keys and the next.
  static constexpr std::uint64_t kAllRows = (std::uint64_t{1} << kRows) - 1;
  static std::uint64_t GroupBits(std::uint64_t low, std::uint64_t high, std::size_t g) {
    const std::size_t shift = g * kRows;
    return (shift == 0   ? low
            : shift < 64 ? (low >> shift | high << (64 - shift))
                         : high >> (shift - 64)) &
           kAllRows;
  }

  // The keys of group g that each query of panel p sees, where that tile is partial.
  template <typename Word>
  const Word* WordsOf(std::size_t p, std::size_t g, Word* HWY_RESTRICT to) {
    const std::uint64_t* own = words + p * 2 * kWidth<T>;
    for (std::size_t i = 0; i < kWidth<T>; ++i)
      to[i] = static_cast<Word>(GroupBits(own[i], own[kWidth<T> + i], g));
    std::size_t begin = 0, end = kWidth<T>;
    while (begin < end && to[begin] == 0) ++begin;
    while (end > begin && to[end - 1] == 0) --end;
    seeing[p][g] = {static_cast<std::uint8_t>(begin), static_cast<std::uint8_t>(end)};
    return to;
  }

  // These two come after WordsOf() of all partial tiles.
  //
  // Adds the queries of the chunk, `queries` of them, that see some key of group g, in packed
  // elements of kPair; with those between them that lie in one panel. Of whole panels where kWhole.
  template <std::size_t kPair, bool kWhole>
  void FindQueries(std::size_t g, std::size_t queries, Runs* found) const {
    for (std::size_t p = 0; p < kPanels; ++p) {
      if (states[p][g] == plan::Seen::kAbsent) continue;
      const bool whole = kWhole || states[p][g] == plan::Seen::kFull;
      const std::size_t end =
          std::min(whole ? kWidth<T> : seeing[p][g].end, queries - p * kWidth<T>);
      const std::size_t from = (whole ? 0 : seeing[p][g].begin) / kPair,
                        to = (end + kPair - 1) / kPair;
      found->Add(p * kWidth<T> / kPair + from, to - from);
    }
  }

  // The groups of keys, of `keys` in all, that some of the queries [begin, end) see, which lie in
  // query panels that see the same.
  template <std::size_t kPair>
  Runs KeysOf(std::size_t begin, std::size_t end, std::size_t groups, std::size_t keys) const {
    Runs found;
    for (std::size_t g = 0; g < groups; ++g) {
      bool seen = false;
      for (std::size_t p = begin / kWidth<T>; p * kWidth<T> < end; ++p) {
        const std::size_t first = p * kWidth<T>;
        seen |= states[p][g] == plan::Seen::kFull ||
                (states[p][g] == plan::Seen::kPartial && first + seeing[p][g].begin < end &&
                 begin < first + seeing[p][g].end);
      }
      if (seen)
        found.Add(g * kRows / kPair, (std::min(kRows, keys - g * kRows) + kPair - 1) / kPair);
    }
    return found;
  }

  // Whether a query panel has tiles.
  bool SeesSome(std::size_t p, std::size_t groups) const {
    return std::any_of(states[p], states[p] + groups,
                       [](plan::Seen state) { return state != plan::Seen::kAbsent; });
  }
  // Whether panels [begin, end) have tiles that are not full.
  bool SeesPartly(std::size_t begin, std::size_t end, std::size_t groups) const {
    for (std::size_t p = begin; p < end; ++p) {
      if (std::find(states[p], states[p] + groups, plan::Seen::kPartial) != states[p] + groups)
        return true;
    }
    return false;
  }
  // Whether two of them have tiles with the same key groups.
  bool SeeTheSame(std::size_t p, std::size_t other, std::size_t groups) const {
    return std::equal(states[p], states[p] + groups, states[other], [](plan::Seen a, plan::Seen b) {
      return (a == plan::Seen::kAbsent) == (b == plan::Seen::kAbsent);
    });
  }

  // Visible keys [sub.key, sub.key + 128) of the queries of panel p.
  void MakeWords(const plan::Layout& layout, const SubBlock& sub, const T* dead_maxima,
                 std::size_t p) {
    std::uint64_t* own = words + p * 2 * kWidth<T>;
    for (std::size_t half = 0; half < 2; ++half) {
      layout.bits(sub.sequence, sub.head, sub.query + static_cast<std::int64_t>(p * kWidth<T>),
                  static_cast<int>(kWidth<T>), sub.key + static_cast<std::int64_t>(half * 64),
                  own + half * kWidth<T>);
    }
    for (std::size_t i = 0, query = p * kWidth<T>;
         dead_maxima != nullptr && i < kWidth<T> && query < sub.queries; ++i, ++query) {
      if (dead_maxima[query] == -std::numeric_limits<T>::infinity())
        own[i] = own[kWidth<T> + i] = 0;
    }
  }

 private:
  std::size_t cursors_[kUnits];  // of each row unit: its first interval that ends behind the keys
                                 // of the call before
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
