// SPDX-License-Identifier: Apache-2.0
// Small helpers on sorted interval lists and on 64-pair words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/plan/mask_node.h"

namespace regard::plan {

// Keys that masks of single pairs judge together as absent, partial or full.
inline constexpr std::int64_t kKeyUnit = 32;

// Appends [begin, end), joined to the last interval where the two touch and are of one kind.
// Nothing when it is empty.
inline void append(std::vector<Interval>& out, std::int64_t begin, std::int64_t end, bool full) {
  if (begin >= end) return;
  if (!out.empty() && out.back().end == begin && out.back().full == full) {
    out.back().end = static_cast<std::int32_t>(end);
  } else {
    out.push_back({static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end), full});
  }
}

// The bits of keys [begin, end) in the word that starts at key j0.
inline std::uint64_t range_bits(std::int64_t begin, std::int64_t end, std::int64_t j0) {
  const std::int64_t low = std::clamp<std::int64_t>(begin - j0, 0, 64),
                     high = std::clamp<std::int64_t>(end - j0, 0, 64);
  if (low >= high) return 0;
  return (~std::uint64_t{0} >> (64 - (high - low))) << low;
}

}  // namespace regard::plan
