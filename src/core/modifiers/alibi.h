// SPDX-License-Identifier: Apache-2.0
// A slope per head times the distance of query and key.
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Alibi> : Defaults {
  static constexpr const char* kName = "alibi";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr bool kFades = true;
  static constexpr Owner kOwner = Owner::kPartials;
  static Rank rank(const Alibi&) { return Rank::kBias; }
  static const TensorView* tensor(const Alibi& m) { return &m.slopes; }
  static Status check(const std::string& name, const Alibi& m, const Shape& scores, DType) {
    return check_tensor(name, m.slopes, {scores[0], scores[1], 1, 1}, "(batch, heads, 1, 1)");
  }
};

}  // namespace regard::modifiers
