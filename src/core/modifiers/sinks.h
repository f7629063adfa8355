// SPDX-License-Identifier: Apache-2.0
// Logits that join the denominator of every row of their head.
#pragma once

#include "core/check_view.h"
#include "core/modifiers/check.h"
#include "core/modifiers/description.h"
#include "core/return_if_error.h"

namespace regard::modifiers {

template <>
struct Description<Sinks> : Defaults {
  static constexpr const char* kName = "sinks";
  static constexpr ActsOn kActsOn = ActsOn::kRows;
  static constexpr Owner kOwner = Owner::kSinks;
  static constexpr bool kAtMostOnce = true, kLooksAtPositions = false;
  static Rank rank(const Sinks&) { return Rank::kAny; }
  static const TensorView* tensor(const Sinks& m) { return &m.logits; }
  static Status check(const std::string& name, const Sinks& m, const Shape& scores, DType) {
    const Shape& shape = m.logits.shape;
    REGARD_RETURN_IF_ERROR(check_tensor(name, m.logits, {1, scores[1], 1, shape[3]},
                                        "(1, heads, 1, sinks of a head)"));
    if (shape[1] == scores[1]) return {};
    return invalid(name, "shape " + text(shape) + "; expected logits of their own for each of " +
                             std::to_string(scores[1]) + " heads");
  }
};

}  // namespace regard::modifiers
