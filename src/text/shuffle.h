// SPDX-License-Identifier: Apache-2.0
// Orders that a seed fixes, the same with every standard library.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace regard::text {

// The standard library's shuffle may differ between libraries; this one is the same everywhere.
template <typename T>
void shuffle(std::vector<T>& items, std::mt19937_64& random) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random() % i]);
}

// Random numbers of one part of one epoch.
inline std::mt19937_64 seeded(std::uint64_t seed, std::int64_t epoch, std::int64_t chunk) {
  std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                         static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(chunk)};
  return std::mt19937_64(sequence);
}

}  // namespace regard::text
