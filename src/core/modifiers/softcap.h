// SPDX-License-Identifier: Apache-2.0
// Scores within (-cap, cap).
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Softcap> : Defaults {
  static constexpr const char* kName = "softcap";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr Keeps kKeeps = Keeps::kOutput;
  static constexpr Owner kOwner = Owner::kNone;
  static constexpr bool kAtMostOnce = true, kLooksAtPositions = false;
  static Rank rank(const Softcap&) { return Rank::kSoftcap; }
  static const TensorView* tensor(const Softcap&) { return nullptr; }
  static Status check(const std::string& name, const Softcap& m, const Shape&, DType own) {
    return check_positive(name, m.cap, {m.cap, 1 / m.cap}, own);
  }
};

}  // namespace regard::modifiers
