// SPDX-License-Identifier: Apache-2.0
// The random bits of dropout: a hash of (seed, batch, head, query row, key row), so that any pass,
// tile or machine finds the same ones.
#pragma once

#include <cmath>
#include <cstdint>

namespace regard::kernels {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): each bit of the input changes each bit of
// the output with probability 1/2.
constexpr std::uint64_t Mix64(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

class DropoutHash {
 public:
  DropoutHash(std::uint64_t seed, std::int64_t batch, std::int64_t head)
      : own_(Mix64(Mix64(Mix64(seed + kStep) + static_cast<std::uint64_t>(batch) * kStep) +
                   static_cast<std::uint64_t>(head) * kStep)) {}

  std::uint64_t Query(std::int64_t row) const {
    return Mix64(own_ + static_cast<std::uint64_t>(row) * kStep);
  }
  std::uint32_t Key(std::int64_t row) const {
    return static_cast<std::uint32_t>(Mix64(~own_ + static_cast<std::uint64_t>(row) * kStep) >> 32);
  }

  // 32 bits for one pair, from the two halves of its query's word and 32 of its key: multiply,
  // shift and mix in 32-bit words, which lanes do side by side. The second half of the query's word
  // enters between the rounds, so that two rows whose first halves collide still differ.
  static constexpr std::uint32_t Pair(std::uint32_t first, std::uint32_t second,
                                      std::uint32_t key) {
    std::uint32_t x = first ^ key;
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) + second;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
  }

 private:
  static constexpr std::uint64_t kStep =
      0x9E3779B97F4A7C15u;  // 2^64 / golden ratio: neighbours land far apart
  std::uint64_t own_;
};

// A pair is dropped where its bits are below this.
inline std::uint32_t DropoutThreshold(double p) {
  const double scaled = std::round(p * 4294967296.0);
  return scaled >= 4294967295.0 ? 0xFFFFFFFFu : static_cast<std::uint32_t>(scaled);
}

}  // namespace regard::kernels
