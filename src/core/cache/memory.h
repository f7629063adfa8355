// SPDX-License-Identifier: Apache-2.0
// Memory of a cache's own: keys, values and scales in one block.
#pragma once

#include <cstddef>
#include <memory>

#include "core/cache/check.h"
#include "core/return_if_error.h"
#include "regard/cache.h"

namespace regard {

struct CacheOffsets {
  std::size_t v = 0, k_scale = 0, v_scale = 0, bytes = 0;
};

// Slots of `rows` rows each, a head's rows side by side.
struct CacheSizes {
  std::int64_t slots, heads, rows, dim, dim_v;
  DType k_dtype, v_dtype;

  Status check() const {
    REGARD_RETURN_IF_ERROR(check_cache_dtype("k_dtype", k_dtype));
    REGARD_RETURN_IF_ERROR(check_cache_dtype("v_dtype", v_dtype));
    return check_cache_sizes(slots, heads, rows, dim, dim_v);
  }

  CacheOffsets offsets() const;
  MutableCacheView view(std::byte* memory) const;
};

// Null where memory is short. Pages are taken from the system as they are written.
std::shared_ptr<std::byte> cache_memory(std::size_t bytes);

}  // namespace regard
