// SPDX-License-Identifier: Apache-2.0
// Checks of what a caller says about a cache, before memory is touched.
#pragma once

#include <string>

#include "regard/cache.h"

namespace regard {

// The views agree with each other, and every row that the lengths (plus `more` rows each, of the
// list or none) ask for has a place.
Status check_cache(const CacheView& cache, std::span<const std::int64_t> more = {});

// What a cache of its own is made of.
Status check_cache_dtype(const char* name, DType dtype);
Status check_cache_sizes(std::int64_t slots, std::int64_t heads, std::int64_t rows,
                         std::int64_t dim, std::int64_t dim_v);

}  // namespace regard
