// SPDX-License-Identifier: Apache-2.0
// Scratch memory for workers: kept between calls, so that a warm call allocates nothing.
#pragma once

#include <cstddef>

namespace regard::schedule {

// A block of at least the asked size, aligned to 128 bytes, for as long as this lives; null where
// memory is short.
class ScratchMemory {
 public:
  explicit ScratchMemory(std::size_t bytes);
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Bytes in use and kept.
std::size_t scratch_total();
// Frees what is kept.
void scratch_release();

}  // namespace regard::schedule
