// SPDX-License-Identifier: Apache-2.0
// The temperature of each head divides its scores.
#pragma once

#include "core/element.h"
#include "core/modifiers/check.h"
#include "core/modifiers/description.h"
#include "core/return_if_error.h"

namespace regard::modifiers {

template <>
struct Description<Temperature> : Defaults {
  static constexpr const char* kName = "temperature";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr Keeps kKeeps = Keeps::kOutput;
  static constexpr Owner kOwner = Owner::kPartials;
  static constexpr bool kAtMostOnce = true, kLooksAtPositions = false;
  static Rank rank(const Temperature&) { return Rank::kDivide; }
  static const TensorView* tensor(const Temperature& m) { return &m.values; }
  static Status check(const std::string& name, const Temperature& m, const Shape& scores,
                      DType own) {
    REGARD_RETURN_IF_ERROR(check_tensor(name, m.values, {1, scores[1], 1, 1}, "(1, heads, 1, 1)"));
    for (std::int64_t h = 0; h < m.values.shape[1]; ++h) {
      const double value = load(m.values, 0, h, 0, 0);
      REGARD_RETURN_IF_ERROR(check_positive(name, value, {value, 1 / value}, own));
    }
    return {};
  }
};

}  // namespace regard::modifiers
