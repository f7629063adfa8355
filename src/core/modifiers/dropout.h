// SPDX-License-Identifier: Apache-2.0
// Weights that are dropped at random.
#pragma once

#include "core/check_view.h"
#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Dropout> : Defaults {
  static constexpr const char* kName = "dropout";
  static constexpr ActsOn kActsOn = ActsOn::kWeights;
  static constexpr Owner kOwner = Owner::kNone;
  static Rank rank(const Dropout&) { return Rank::kAny; }
  static const TensorView* tensor(const Dropout&) { return nullptr; }
  static bool does_nothing(const Dropout& m) { return m.p == 0; }
  static Status check(const std::string& name, const Dropout& m, const Shape&, DType) {
    if (m.p >= 0 && m.p <= 1) return {};
    return invalid(name, "p " + text(m.p) + "; expected a probability from 0 to 1");
  }
};

}  // namespace regard::modifiers
