// SPDX-License-Identifier: Apache-2.0
#include "core/modifiers/check.h"

#include <algorithm>
#include <cmath>

#include "core/check_view.h"
#include "core/return_if_error.h"

namespace regard::modifiers {

Status check_tensor(const std::string& name, const TensorView& view, const Shape& full,
                    const char* axes) {
  REGARD_RETURN_IF_ERROR(check_view(name.c_str(), view));
  if (!is_floating(view.dtype)) {
    return invalid(name, std::string("dtype ") + name_of(view.dtype) +
                             "; expected float32, bfloat16, float16 or float64");
  }
  if (broadcasts(view.shape, full)) return {};
  return invalid(name,
                 "shape " + text(view.shape) + " does not broadcast to " + axes + " " + text(full));
}

Status check_positive(const std::string& name, double value, std::initializer_list<double> used,
                      DType own) {
  if (!(value > 0) || std::isinf(value))
    return invalid(name, text(value) + "; expected a finite number above 0");
  const auto holds = [own](double x) {
    return own == DType::kFloat64 ? std::isfinite(x) : std::isfinite(static_cast<float>(x));
  };
  if (std::all_of(used.begin(), used.end(), holds)) return {};
  return invalid(name, text(value) + "; expected a number that " + name_of(own) + " can divide by");
}

}  // namespace regard::modifiers
