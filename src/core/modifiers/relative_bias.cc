// SPDX-License-Identifier: Apache-2.0
#include "core/modifiers/relative_bias.h"

#include <algorithm>

#include "core/check_view.h"
#include "core/return_if_error.h"

namespace regard::modifiers {
namespace {

Status check_codes(const std::string& name, const TensorView& view, std::int64_t size) {
  REGARD_RETURN_IF_ERROR(check_view(name.c_str(), view));
  if (view.dtype != DType::kInt32)
    return invalid(name, std::string("dtype ") + name_of(view.dtype) + "; expected int32");
  const Shape expected{1, 1, 1, size < 0 ? view.shape[3] : size};
  if (view.shape != expected)
    return invalid(name, "shape " + text(view.shape) + "; expected " + text(expected));
  if (view.shape[3] > 1 && view.strides[3] != 1)
    return invalid(
        name, "stride " + std::to_string(view.strides[3]) + "; expected neighbours side by side");
  return {};
}

struct Range {
  std::int64_t least = 0, most = -1;
};

Range range_of(const TensorView& codes) {
  const auto* first = static_cast<const std::int32_t*>(codes.data);
  if (codes.shape[3] == 0) return {};
  const auto [least, most] = std::minmax_element(first, first + codes.shape[3]);
  return {*least, *most};
}

}  // namespace

Status Description<RelativeBias>::check(const std::string& name, const RelativeBias& bias,
                                        const Shape& scores, DType) {
  REGARD_RETURN_IF_ERROR(check_tensor(name + ".table", bias.table,
                                      {1, scores[1], 1, bias.table.shape[3]},
                                      "(1, heads, 1, entries)"));
  REGARD_RETURN_IF_ERROR(check_codes(name + ".query_code", bias.query_code, scores[2]));
  REGARD_RETURN_IF_ERROR(check_codes(name + ".key_code", bias.key_code, scores[3]));
  REGARD_RETURN_IF_ERROR(check_codes(name + ".buckets", bias.buckets, -1));
  const Range buckets = range_of(bias.buckets);
  if (buckets.least < 0 || buckets.most >= bias.table.shape[3]) {
    return invalid(name + ".buckets", "holds " + std::to_string(buckets.least) + " to " +
                                          std::to_string(buckets.most) + "; the table has " +
                                          std::to_string(bias.table.shape[3]) + " entries");
  }
  if (scores[2] == 0 || scores[3] == 0) return {};
  const Range query = range_of(bias.query_code), key = range_of(bias.key_code);
  std::int64_t least, most;
  if (__builtin_add_overflow(key.least - query.most, bias.shift, &least) ||
      __builtin_add_overflow(key.most - query.least, bias.shift, &most) || least < 0 ||
      most >= bias.buckets.shape[3]) {
    return invalid(name + ".shift",
                   std::to_string(bias.shift) + ": differences of codes run from " +
                       std::to_string(key.least - query.most) + " to " +
                       std::to_string(key.most - query.least) +
                       "; with the shift they must lie in [0, " +
                       std::to_string(bias.buckets.shape[3]) + "), the size of buckets");
  }
  return {};
}

}  // namespace regard::modifiers
