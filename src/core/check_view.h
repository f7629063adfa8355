// SPDX-License-Identifier: Apache-2.0
// Checks of one view by itself, and the words that error messages share.
#pragma once

#include <string>

#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// The largest size of any axis: keys and rows are counted in int32 inside plans, with room to round
// up to a panel.
inline constexpr std::int64_t kMaxSize = (std::int64_t{1} << 31) - 64;

// "(2, 3, 7, 64)"
std::string text(const Shape& shape);
std::string text(double number);  // six digits

// Sizes in [0, kMaxSize], memory given unless empty, a known dtype, and offsets and byte counts
// that fit in int64.
Status check_view(const char* name, const TensorView& view);

// check_view, and no two elements in one place as far as zero strides tell: results are written to
// it.
Status check_output(const char* name, const MutableTensorView& view);

inline bool is_floating(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 ||
         dtype == DType::kFloat64;
}

// Whether each size equals the full one or is 1.
inline bool broadcasts(const Shape& shape, const Shape& full) {
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] != full[axis] && shape[axis] != 1) return false;
  }
  return true;
}

}  // namespace regard
