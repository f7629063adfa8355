// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/scratch.h"

#include <array>
#include <mutex>
#include <new>
#include <utility>

namespace regard::schedule {
namespace {

constexpr std::align_val_t kAlign{128};
// Blocks above this size are the gradients' float copies of very long sequences: one of them is
// kept, unless it is huge.
constexpr std::size_t kLargeBlock = std::size_t{32} << 20, kHugeBlock = std::size_t{1} << 30;

struct Block {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

// A few free blocks. Taking and giving back is a scan of a short array: far below the cost of the
// smallest call.
class Pool {
 public:
  Block take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      Block* best = nullptr;
      for (Block& block : free_) {
        if (block.data != nullptr && block.bytes >= bytes &&
            (best == nullptr || block.bytes < best->bytes))
          best = &block;
      }
      if (best == nullptr && large_.bytes >= bytes) best = &large_;
      if (best != nullptr && best->bytes <= 4 * bytes + (std::size_t{1} << 20)) {
        const Block taken = *best;
        *best = Block{};
        return taken;
      }
    }
    auto* data = static_cast<std::byte*>(::operator new(bytes, kAlign, std::nothrow));
    if (data == nullptr) return {};
    const std::lock_guard lock(mutex_);
    total_ += bytes;
    return {data, bytes};
  }

  void give(Block block) {
    Block dropped = block;
    {
      const std::lock_guard lock(mutex_);
      if (block.bytes > kLargeBlock) {
        if (block.bytes <= kHugeBlock && block.bytes > large_.bytes) std::swap(dropped, large_);
      } else {
        // The smallest kept block makes room for a larger one.
        Block* place = nullptr;
        for (Block& slot : free_) {
          if (place == nullptr || slot.bytes < place->bytes) place = &slot;
          if (slot.data == nullptr) {
            place = &slot;
            break;
          }
        }
        if (place->bytes < block.bytes) {
          dropped = *place;
          *place = block;
        }
      }
      total_ -= dropped.bytes;
    }
    if (dropped.data != nullptr) ::operator delete(dropped.data, kAlign);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    for (Block& block : free_) drop(block);
    drop(large_);
  }

  std::size_t total() {
    const std::lock_guard lock(mutex_);
    return total_;
  }

 private:
  void drop(Block& block) {
    if (block.data == nullptr) return;
    total_ -= block.bytes;
    ::operator delete(block.data, kAlign);
    block = Block{};
  }

  std::mutex mutex_;
  std::array<Block, 64> free_{};
  Block large_;
  std::size_t total_ = 0;
};

Pool& pool() {
  // Never destroyed: a worker may outlive static destruction.
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

ScratchMemory::ScratchMemory(std::size_t bytes) {
  const Block block = pool().take(bytes == 0 ? 1 : bytes);
  data_ = block.data;
  bytes_ = block.bytes;
}

ScratchMemory::~ScratchMemory() {
  if (data_ != nullptr) pool().give({data_, bytes_});
}

std::size_t scratch_total() { return pool().total(); }
void scratch_release() { pool().release(); }

}  // namespace regard::schedule
