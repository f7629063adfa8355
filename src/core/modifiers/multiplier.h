// SPDX-License-Identifier: Apache-2.0
// A tensor that weights are multiplied with.
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Multiplier> : Defaults {
  static constexpr const char* kName = "multiplier";
  static constexpr ActsOn kActsOn = ActsOn::kWeights;
  static constexpr Owner kOwner = Owner::kTensor;
  static Rank rank(const Multiplier&) { return Rank::kAny; }
  static const TensorView* tensor(const Multiplier& m) { return &m.values; }
  static Status check(const std::string& name, const Multiplier& m, const Shape& scores, DType) {
    return check_tensor(name, m.values, scores, "(batch, heads, len_q, len_k)");
  }
};

}  // namespace regard::modifiers
