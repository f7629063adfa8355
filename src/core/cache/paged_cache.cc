// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "core/cache/memory.h"

namespace regard {
namespace {

CacheSizes sizes_of(const PagedShape& shape) {
  return {shape.pages, shape.heads_kv, shape.page_size, shape.dim,
          shape.dim_v, shape.k_dtype,  shape.v_dtype};
}

// Lengths and block table of some sequences.
struct Listed {
  std::vector<std::int64_t> lengths;
  std::vector<std::int32_t> table;

  Status list(const PageTable& pages, std::span<const std::int64_t> sequences,
              MutableCacheView* view) {
    for (const std::int64_t sequence : sequences) {
      if (!pages.has(sequence)) {
        return Status::invalid("sequences: there is no " + std::to_string(sequence) +
                               "; expected what add() or fork() gave");
      }
      lengths.push_back(pages.length(sequence));
    }
    const std::int64_t width = std::max<std::int64_t>(1, pages.width(sequences));
    table.resize(sequences.size() * static_cast<std::size_t>(width));
    pages.write_table(sequences, table.data(), width);
    view->table = table.data();
    view->table_stride = width;
    view->lengths = lengths;
    return {};
  }
};

void copy_page(const MutableTensorView& pages, const PageTable::Copy& copy) {
  if (!pages.given()) return;
  const std::size_t bytes = static_cast<std::size_t>(pages.strides[0]) * size_of(pages.dtype);
  auto* data = static_cast<char*>(pages.data);
  std::memcpy(data + static_cast<std::size_t>(copy.to) * bytes,
              data + static_cast<std::size_t>(copy.from) * bytes, bytes);
}

}  // namespace

Status PagedCache::make(const PagedShape& shape, PagedCache* cache) {
  const CacheSizes sizes = sizes_of(shape);
  REGARD_RETURN_IF_ERROR(sizes.check());
  PageTable pages;
  REGARD_RETURN_IF_ERROR(PageTable::make(shape.pages, shape.page_size, &pages));
  const std::size_t bytes = sizes.offsets().bytes;
  std::shared_ptr<std::byte> memory = cache_memory(bytes);
  if (memory == nullptr) {
    return {StatusCode::kOutOfMemory,
            "cache: " + std::to_string(bytes) + " bytes could not be allocated"};
  }
  cache->shape_ = shape;
  cache->pages_ = std::move(pages);
  cache->memory_ = std::move(memory);
  return {};
}

MutableCacheView PagedCache::memory_view() const { return sizes_of(shape_).view(memory_.get()); }

Status PagedCache::append(std::span<const std::int64_t> sequences, const TensorView& k,
                          const TensorView& v, std::span<const std::int64_t> counts) {
  if (memory_ == nullptr) return Status::invalid("cache: is empty; make one with PagedCache::make");
  MutableCacheView view = memory_view();
  Listed listed;
  REGARD_RETURN_IF_ERROR(listed.list(pages_, sequences, &view));
  std::vector<std::int64_t> all;
  if (counts.empty()) {
    all.assign(sequences.size(), k.shape[2]);
    counts = all;
  }
  // Everything but the room is checked first: an append of no rows touches nothing.
  const std::vector<std::int64_t> none(counts.size(), 0);
  REGARD_RETURN_IF_ERROR(regard::append(k, v, view, none));
  for (const std::int64_t count : counts) {
    if (count < 0 || count > k.shape[2]) {
      return Status::invalid("counts: " + std::to_string(count) + "; expected 0 to " +
                             std::to_string(k.shape[2]) + ", the rows of key");
    }
  }
  std::vector<PageTable::Copy> copies;
  REGARD_RETURN_IF_ERROR(pages_.reserve(sequences, counts, &copies));
  for (const PageTable::Copy& copy : copies) {
    for (const MutableTensorView* part : {&view.k, &view.v, &view.k_scale, &view.v_scale})
      copy_page(*part, copy);
  }
  const std::vector<std::int64_t> before = listed.lengths;
  Listed after;
  REGARD_RETURN_IF_ERROR(after.list(pages_, sequences, &view));
  view.lengths = before;
  return regard::append(k, v, view, counts);
}

Status PagedCache::attend(std::span<const std::int64_t> sequences, const TensorView& q,
                          const Options& options, const Outputs& outputs, const Executor& executor,
                          std::span<const std::int64_t> cu_q) const {
  if (memory_ == nullptr) return Status::invalid("cache: is empty; make one with PagedCache::make");
  MutableCacheView view = memory_view();
  Listed listed;
  REGARD_RETURN_IF_ERROR(listed.list(pages_, sequences, &view));
  return regard::attend(q, as_const(view), options, outputs, executor, cu_q);
}

}  // namespace regard
