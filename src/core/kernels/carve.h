// Cuts one block of scratch memory into aligned arrays; with a null block it only counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::kernels {

// Work items hold at most this many (row unit, head) pairs: 768 query rows.
inline constexpr std::size_t kMaxUnits = 64;

inline constexpr std::size_t RoundUp(std::size_t x, std::size_t to) {
  return (x + to - 1) / to * to;
}

// Keys of one packed chunk: keys and values of a chunk stay within about half a MiB of cache each.
inline constexpr std::size_t ChunkKeys(std::size_t dim, std::size_t dim_v) {
  const std::size_t larger = dim > dim_v ? dim : dim_v;
  return larger <= 128 ? 512 : larger <= 256 ? 256 : 128;
}

// Elements between rows that were copied out of a tensor: room for whole vectors behind the last
// column.
inline constexpr std::size_t CopyStride(std::size_t cols) { return RoundUp(cols, 32) + 32; }

// Elements between rows that were copied to be broadcast. Caches are cut into banks by the last
// bits of an address: elements of one column lie in different ones.
inline constexpr std::size_t RowStride(std::size_t inner) { return RoundUp(inner, 16) + 5; }

class Carve {
 public:
  explicit Carve(std::byte* block) : block_(block) {}

  template <typename Element>
  Element* Take(std::size_t count) {
    const std::size_t at = bytes_;
    bytes_ = RoundUp(bytes_ + count * sizeof(Element), 128);
    return block_ == nullptr ? nullptr : reinterpret_cast<Element*>(block_ + at);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* block_;
  std::size_t bytes_ = 0;
};

}  // namespace regard::kernels
