// SPDX-License-Identifier: Apache-2.0
#include "core/cache/memory.h"

namespace regard {
namespace {

CacheSizes sizes_of(const CacheShape& shape) {
  return {shape.sequences, shape.heads_kv, shape.capacity, shape.dim,
          shape.dim_v,     shape.k_dtype,  shape.v_dtype};
}

}  // namespace

Status KVCache::make(const CacheShape& shape, KVCache* cache) {
  const CacheSizes sizes = sizes_of(shape);
  REGARD_RETURN_IF_ERROR(sizes.check());
  const std::size_t bytes = sizes.offsets().bytes;
  std::shared_ptr<std::byte> memory = cache_memory(bytes);
  if (memory == nullptr) {
    return {StatusCode::kOutOfMemory,
            "cache: " + std::to_string(bytes) + " bytes could not be allocated"};
  }
  cache->shape_ = shape;
  cache->lengths_.assign(static_cast<std::size_t>(shape.sequences), 0);
  cache->memory_ = std::move(memory);
  return {};
}

MutableCacheView KVCache::mutable_view() const {
  MutableCacheView view = sizes_of(shape_).view(memory_.get());
  view.lengths = lengths_;
  return view;
}

CacheView KVCache::view() const { return as_const(mutable_view()); }

Status KVCache::append(const TensorView& k, const TensorView& v,
                       std::span<const std::int64_t> counts) {
  if (memory_ == nullptr) return Status::invalid("cache: is empty; make one with KVCache::make");
  REGARD_RETURN_IF_ERROR(regard::append(k, v, mutable_view(), counts));
  for (std::size_t b = 0; b < lengths_.size(); ++b)
    lengths_[b] += counts.empty() ? k.shape[2] : counts[b];
  return {};
}

Status KVCache::truncate(std::int64_t sequence, std::int64_t length) {
  if (sequence < 0 || sequence >= static_cast<std::int64_t>(lengths_.size())) {
    return Status::invalid("sequence: " + std::to_string(sequence) + "; the cache has " +
                           std::to_string(lengths_.size()));
  }
  std::int64_t& own = lengths_[static_cast<std::size_t>(sequence)];
  if (length < 0 || length > own) {
    return Status::invalid("length: " + std::to_string(length) + "; sequence " +
                           std::to_string(sequence) + " has " + std::to_string(own) + " rows");
  }
  own = length;
  return {};
}

}  // namespace regard
