// SPDX-License-Identifier: Apache-2.0
#include "core/check_view.h"

#include <cstdio>

namespace regard {
namespace {

// Whether every element's distance from the first, in bytes, and the size of a copy without gaps
// fit in int64.
bool addresses_fit(const TensorView& view) {
  const auto bytes = static_cast<std::int64_t>(size_of(view.dtype));
  std::int64_t below = 0, above = 0, elements = 1;
  for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
    std::int64_t reach;
    if (__builtin_mul_overflow(view.shape[axis] - 1, view.strides[axis], &reach)) return false;
    std::int64_t& side = reach < 0 ? below : above;
    if (__builtin_add_overflow(side, reach, &side)) return false;
    if (__builtin_mul_overflow(elements, view.shape[axis], &elements)) return false;
  }
  std::int64_t ignored;
  return !__builtin_mul_overflow(below, bytes, &ignored) &&
         !__builtin_mul_overflow(above, bytes, &ignored) &&
         !__builtin_mul_overflow(elements, bytes, &ignored);
}

}  // namespace

std::string text(const Shape& shape) {
  std::string out = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    out += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  return out + ")";
}

std::string text(double number) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%g", number);
  return digits;
}

Status check_view(const char* name, const TensorView& view) {
  if (size_of(view.dtype) == 0)
    return Status::invalid(std::string(name) + ": the dtype is unknown");
  for (const std::int64_t size : view.shape) {
    if (size < 0 || size > kMaxSize) {
      return Status::invalid(std::string(name) + ": shape " + text(view.shape) + " has a size of " +
                             std::to_string(size) + "; expected 0 to " + std::to_string(kMaxSize));
    }
  }
  if (view.empty()) return {};
  if (!view.given())
    return Status::invalid(std::string(name) + ": no data for shape " + text(view.shape));
  if (!addresses_fit(view)) {
    return Status::invalid(std::string(name) + ": shape " + text(view.shape) + " with strides " +
                           text(view.strides) + " reaches past 2^63 bytes");
  }
  return {};
}

Status check_output(const char* name, const MutableTensorView& view) {
  Status status = check_view(name, as_const(view));
  if (!status.ok() || view.empty()) return status;
  for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
    if (view.shape[axis] > 1 && view.strides[axis] == 0) {
      return Status::invalid(std::string(name) + ": shape " + text(view.shape) +
                             " has stride 0 on axis " + std::to_string(axis) +
                             "; results need a place each");
    }
  }
  return status;
}

}  // namespace regard
