// SPDX-License-Identifier: Apache-2.0
// A Gaussian round a centre per row that weights are multiplied with.
#pragma once

#include "core/modifiers/check.h"
#include "core/modifiers/description.h"
#include "core/return_if_error.h"

namespace regard::modifiers {

template <>
struct Description<Gaussian> : Defaults {
  static constexpr const char* kName = "gaussian";
  static constexpr ActsOn kActsOn = ActsOn::kWeights;
  static constexpr bool kFades = true;
  static constexpr Owner kOwner = Owner::kTensor;
  static Rank rank(const Gaussian&) { return Rank::kAny; }
  static const TensorView* tensor(const Gaussian& m) { return &m.centre; }
  static Status check(const std::string& name, const Gaussian& m, const Shape& scores, DType own) {
    REGARD_RETURN_IF_ERROR(
        check_positive(name + ".sigma", m.sigma, {0.5 / (m.sigma * m.sigma)}, own));
    return check_tensor(name + ".centre", m.centre, {scores[0], scores[1], scores[2], 1},
                        "(batch, heads, len_q, 1)");
  }
};

}  // namespace regard::modifiers
