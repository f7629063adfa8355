// SPDX-License-Identifier: Apache-2.0
// The description of any modifier. Every kind is listed here.
#pragma once

#include <variant>

#include "core/modifiers/alibi.h"
#include "core/modifiers/bias.h"
#include "core/modifiers/description.h"
#include "core/modifiers/dropout.h"
#include "core/modifiers/function.h"
#include "core/modifiers/gaussian.h"
#include "core/modifiers/multiplier.h"
#include "core/modifiers/relative_bias.h"
#include "core/modifiers/sinks.h"
#include "core/modifiers/softcap.h"
#include "core/modifiers/temperature.h"

namespace regard::modifiers {

// The description of one modifier as a value.
struct Facts {
  const char* name;
  ActsOn acts_on;
  Rank rank;
  Keeps keeps;
  Owner owner;
  bool at_most_once, looks_at_positions, calls_user_code, fades, does_nothing;
  // That may have a gradient, or null. Gradients::d_modifiers has an entry for each modifier with
  // one, in the order of Options::modifiers.
  const TensorView* tensor;
};

inline Facts facts_of(const Modifier& modifier) {
  return std::visit(
      [](const auto& m) -> Facts {
        using D = Description<std::decay_t<decltype(m)>>;
        return {D::kName,  D::kActsOn,         D::rank(m),           D::kKeeps,
                D::kOwner, D::kAtMostOnce,     D::kLooksAtPositions, D::kCallsUserCode,
                D::kFades, D::does_nothing(m), D::tensor(m)};
      },
      modifier);
}

// Whether the modifier by itself, called `name`, suits scores (batch, heads, len_q, len_k) that are
// computed in `own`.
inline Status check(const std::string& name, const Modifier& modifier, const Shape& scores,
                    DType own) {
  return std::visit(
      [&](const auto& m) {
        return Description<std::decay_t<decltype(m)>>::check(name, m, scores, own);
      },
      modifier);
}

}  // namespace regard::modifiers
