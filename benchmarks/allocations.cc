// SPDX-License-Identifier: Apache-2.0
#include "allocations.h"

#include <malloc.h>

#include <atomic>
#include <cerrno>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

std::atomic<std::int64_t> count{0}, live{0}, peak{0};

void* note(void* block) {
  if (block == nullptr) return nullptr;
  count.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t now = live.fetch_add(static_cast<std::int64_t>(malloc_usable_size(block))) +
                           static_cast<std::int64_t>(malloc_usable_size(block));
  std::int64_t seen = peak.load();
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
  return block;
}

void forget(void* block) {
  if (block != nullptr) live.fetch_sub(static_cast<std::int64_t>(malloc_usable_size(block)));
}

}  // namespace

extern "C" {

void* malloc(std::size_t bytes) { return note(__libc_malloc(bytes)); }
void* calloc(std::size_t items, std::size_t bytes) { return note(__libc_calloc(items, bytes)); }
void* memalign(std::size_t alignment, std::size_t bytes) {
  return note(__libc_memalign(alignment, bytes));
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return note(__libc_memalign(alignment, bytes));
}

void* realloc(void* block, std::size_t bytes) {
  forget(block);
  return note(__libc_realloc(block, bytes));
}

int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) {
  *block = note(__libc_memalign(alignment, bytes));
  return *block == nullptr ? ENOMEM : 0;
}

void free(void* block) {
  forget(block);
  __libc_free(block);
}

}  // extern "C"

namespace regard::bench {

void reset_allocations() {
  count = 0;
  live = 0;
  peak = 0;
}

Allocations allocations() { return {count.load(), peak.load()}; }

}  // namespace regard::bench
