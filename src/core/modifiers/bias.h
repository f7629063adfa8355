// SPDX-License-Identifier: Apache-2.0
// A tensor that is added to scores.
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Bias> : Defaults {
  static constexpr const char* kName = "bias";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr Owner kOwner = Owner::kTensor;
  static Rank rank(const Bias& m) { return m.before_softcap ? Rank::kBeforeSoftcap : Rank::kBias; }
  static const TensorView* tensor(const Bias& m) { return &m.values; }
  static Status check(const std::string& name, const Bias& m, const Shape& scores, DType) {
    return check_tensor(name, m.values, scores, "(batch, heads, len_q, len_k)");
  }
};

}  // namespace regard::modifiers
