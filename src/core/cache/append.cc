// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "core/cache/check.h"
#include "core/check_view.h"
#include "core/kernels/decode_task.h"
#include "core/kernels/dispatch.h"
#include "core/return_if_error.h"
#include "regard/cache.h"

namespace regard {
namespace {

Status check_new(const char* name, const TensorView& rows, const TensorView& cached,
                 std::int64_t batch, std::int64_t n) {
  REGARD_RETURN_IF_ERROR(check_view(name, rows));
  if (rows.dtype != DType::kFloat32 && rows.dtype != DType::kBFloat16 &&
      rows.dtype != DType::kFloat16) {
    return Status::invalid(std::string(name) + ": dtype " + name_of(rows.dtype) +
                           "; expected float32, bfloat16 or float16");
  }
  const Shape expected{batch, cached.shape[1], n, cached.shape[3]};
  if (rows.shape == expected) return {};
  return Status::invalid(std::string(name) + ": shape " + text(rows.shape) + "; expected " +
                         text(expected) + ": a batch entry for each length, heads and dim of the " +
                         "cache, and as many rows of keys as of values");
}

// Writes rows of one batch entry and head.
class Writer {
 public:
  Writer(const MutableCacheView& cache, const kernels::DecodeSet& set) : cache_(cache), set_(set) {}

  void write(const TensorView& from, const MutableTensorView& to, const MutableTensorView& scale,
             std::int64_t b, std::int64_t n) const {
    const std::int64_t first = cache_.lengths[static_cast<std::size_t>(b)], rows = to.shape[2];
    kernels::RowCopy copy;
    copy.from_dtype = from.dtype;
    copy.from_col = from.strides[3];
    copy.to_dtype = to.dtype;
    copy.to_col = to.strides[3];
    copy.cols = from.shape[3];
    const auto in = static_cast<std::int64_t>(size_of(from.dtype)),
               out = static_cast<std::int64_t>(size_of(to.dtype));
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t row = first + j;
      const std::int64_t slot =
          cache_.table == nullptr ? b : cache_.table[b * cache_.table_stride + row / rows];
      const std::int64_t at = cache_.table == nullptr ? row : row % rows;
      for (std::int64_t h = 0; h < from.shape[1]; ++h) {
        copy.from = static_cast<const char*>(from.data) +
                    (b * from.strides[0] + h * from.strides[1] + j * from.strides[2]) * in;
        copy.to = static_cast<char*>(to.data) +
                  (slot * to.strides[0] + h * to.strides[1] + at * to.strides[2]) * out;
        if (scale.given()) {
          copy.scale = static_cast<float*>(scale.data) + slot * scale.strides[0] +
                       h * scale.strides[1] + at * scale.strides[2];
        }
        set_.copy_row(copy);
      }
    }
  }

 private:
  const MutableCacheView& cache_;
  const kernels::DecodeSet& set_;
};

}  // namespace

CacheView as_const(const MutableCacheView& view) {
  CacheView made;
  made.k = as_const(view.k);
  made.v = as_const(view.v);
  made.k_scale = as_const(view.k_scale);
  made.v_scale = as_const(view.v_scale);
  made.table = view.table;
  made.table_stride = view.table_stride;
  made.lengths = view.lengths;
  return made;
}

Status append(const TensorView& k, const TensorView& v, const MutableCacheView& cache,
              std::span<const std::int64_t> counts) {
  REGARD_RETURN_IF_ERROR(kernels::target_status());
  const auto batch = static_cast<std::int64_t>(cache.lengths.size());
  const std::int64_t n = k.shape[2];
  REGARD_RETURN_IF_ERROR(check_new("key", k, as_const(cache.k), batch, n));
  REGARD_RETURN_IF_ERROR(check_new("value", v, as_const(cache.v), batch, n));
  std::vector<std::int64_t> all;
  if (counts.empty()) {
    all.assign(cache.lengths.size(), n);
    counts = all;
  }
  if (counts.size() != cache.lengths.size()) {
    return Status::invalid("counts: " + std::to_string(counts.size()) +
                           " numbers; expected one for each of " + std::to_string(batch) +
                           " sequences");
  }
  for (const std::int64_t count : counts) {
    if (count < 0 || count > n) {
      return Status::invalid("counts: " + std::to_string(count) + "; expected 0 to " +
                             std::to_string(n) + ", the rows of key");
    }
  }
  REGARD_RETURN_IF_ERROR(check_cache(as_const(cache), counts));
  const Writer writer(cache, kernels::decode_set());
  for (std::int64_t b = 0; b < batch; ++b) {
    writer.write(k, cache.k, cache.k_scale, b, counts[static_cast<std::size_t>(b)]);
    writer.write(v, cache.v, cache.v_scale, b, counts[static_cast<std::size_t>(b)]);
  }
  return {};
}

}  // namespace regard
