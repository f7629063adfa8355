// SPDX-License-Identifier: Apache-2.0
// Cuts one block of scratch memory into aligned arrays; with a null block it only counts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernels/tiling.h"

namespace regard::kernels {

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
