// SPDX-License-Identifier: Apache-2.0
#include "core/cache/check.h"

#include "core/check_view.h"
#include "core/return_if_error.h"

namespace regard {
namespace {

Status invalid(const std::string& name, const std::string& what) {
  return Status::invalid(name + ": " + what);
}

Status check_scales(const char* name, const TensorView& scales, const TensorView& rows) {
  if (rows.dtype != DType::kInt8) {
    if (!scales.given()) return {};
    return invalid(name, std::string("given; but its elements are ") + name_of(rows.dtype) +
                             ", which have no scales");
  }
  if (!scales.given()) return invalid(name, "not given; int8 has a scale for each row of a head");
  REGARD_RETURN_IF_ERROR(check_view(name, scales));
  if (scales.dtype != DType::kFloat32)
    return invalid(name, std::string("dtype ") + name_of(scales.dtype) + "; expected float32");
  const Shape expected{rows.shape[0], rows.shape[1], rows.shape[2], 1};
  if (scales.shape == expected) return {};
  return invalid(name, "shape " + text(scales.shape) + "; expected " + text(expected) +
                           ", one for each row of a head");
}

Status check_table(const CacheView& cache, std::size_t b, std::int64_t rows) {
  const std::int64_t page = cache.k.shape[2], slots = cache.k.shape[0];
  for (std::int64_t p = 0; p * page < rows; ++p) {
    const std::int32_t slot = cache.table[static_cast<std::int64_t>(b) * cache.table_stride + p];
    if (slot < 0 || slot >= slots) {
      return invalid("block_table", "entry " + std::to_string(p) + " of sequence " +
                                        std::to_string(b) + " is " + std::to_string(slot) +
                                        "; expected 0 to " + std::to_string(slots - 1) +
                                        ", the pages there are");
    }
  }
  return {};
}

}  // namespace

Status check_cache_dtype(const char* name, DType dtype) {
  if (dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 ||
      dtype == DType::kInt8)
    return {};
  return invalid(name, std::string("dtype ") + name_of(dtype) +
                           "; expected float32, bfloat16, float16 or int8");
}

Status check_cache_sizes(std::int64_t slots, std::int64_t heads, std::int64_t rows,
                         std::int64_t dim, std::int64_t dim_v) {
  const auto check = [](const char* name, std::int64_t size, std::int64_t most) -> Status {
    if (size >= 1 && size <= most) return {};
    return Status::invalid(std::string("cache: ") + name + " is " + std::to_string(size) +
                           "; expected 1 to " + std::to_string(most));
  };
  REGARD_RETURN_IF_ERROR(check("the number of sequences or pages", slots, kMaxSize));
  REGARD_RETURN_IF_ERROR(check("heads_kv", heads, kMaxSize));
  REGARD_RETURN_IF_ERROR(check("the rows of a sequence or page", rows, kMaxSize));
  REGARD_RETURN_IF_ERROR(check("dim", dim, 512));
  return check("dim_v", dim_v, 2048);
}

Status check_cache(const CacheView& cache, std::span<const std::int64_t> more) {
  const TensorView &k = cache.k, &v = cache.v;
  REGARD_RETURN_IF_ERROR(check_view("k_cache", k));
  REGARD_RETURN_IF_ERROR(check_view("v_cache", v));
  REGARD_RETURN_IF_ERROR(check_cache_dtype("k_cache", k.dtype));
  REGARD_RETURN_IF_ERROR(check_cache_dtype("v_cache", v.dtype));
  if (v.shape[0] != k.shape[0] || v.shape[1] != k.shape[1] || v.shape[2] != k.shape[2]) {
    return invalid("v_cache", "shape " + text(v.shape) + "; k_cache has " + text(k.shape) +
                                  ", and all but the last size must agree");
  }
  REGARD_RETURN_IF_ERROR(check_scales("k_scale", cache.k_scale, k));
  REGARD_RETURN_IF_ERROR(check_scales("v_scale", cache.v_scale, v));
  const auto batch = static_cast<std::int64_t>(cache.lengths.size());
  if (cache.table == nullptr && batch > k.shape[0]) {
    return invalid("k_cache", "shape " + text(k.shape) + " has room for " +
                                  std::to_string(k.shape[0]) + " sequences; lengths has " +
                                  std::to_string(batch));
  }
  const std::int64_t rows = cache.table == nullptr ? k.shape[2] : cache.table_stride * k.shape[2];
  for (std::size_t b = 0; b < cache.lengths.size(); ++b) {
    const std::int64_t length = cache.lengths[b], added = more.empty() ? 0 : more[b];
    if (length < 0 || length > rows) {
      return invalid("lengths", "sequence " + std::to_string(b) + " has length " +
                                    std::to_string(length) + "; expected 0 to " +
                                    std::to_string(rows) + ", the rows it has room for");
    }
    if (added > rows - length) {
      return {StatusCode::kFull, "cache: sequence " + std::to_string(b) + " has " +
                                     std::to_string(length) + " of " + std::to_string(rows) +
                                     " rows; " + std::to_string(added) + " more do not fit"};
    }
    if (cache.table != nullptr) REGARD_RETURN_IF_ERROR(check_table(cache, b, length + added));
  }
  return {};
}

}  // namespace regard
