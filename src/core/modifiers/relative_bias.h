// SPDX-License-Identifier: Apache-2.0
// A table of what is added for each way that two positions lie to each other.
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<RelativeBias> : Defaults {
  static constexpr const char* kName = "relative_bias";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr Owner kOwner = Owner::kTable;
  static Rank rank(const RelativeBias&) { return Rank::kBias; }
  static const TensorView* tensor(const RelativeBias& m) { return &m.table; }
  static Status check(const std::string& name, const RelativeBias& m, const Shape& scores,
                      DType own);
};

}  // namespace regard::modifiers
