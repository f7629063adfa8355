// SPDX-License-Identifier: Apache-2.0
// A user's function over tiles of scores.
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Function> : Defaults {
  static constexpr const char* kName = "function";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr Keeps kKeeps = Keeps::kInput;
  static constexpr Owner kOwner = Owner::kNone;
  static constexpr bool kCallsUserCode = true;
  static Rank rank(const Function&) { return Rank::kFunction; }
  static const TensorView* tensor(const Function&) { return nullptr; }
  static Status check(const std::string& name, const Function& m, const Shape&, DType) {
    if (m.apply != nullptr) return {};
    return invalid(name, "apply is null; expected a function over tiles");
  }
};

}  // namespace regard::modifiers
