// The tensor of a modifier that can have a gradient.
#pragma once

#include "regard/modifier.h"

namespace regard {

// Null for modifiers without one. Gradients::d_modifiers has an entry for each of the others, in
// the order of Options::modifiers.
inline const TensorView* modifier_tensor(const Modifier& modifier) {
  if (const auto* bias = std::get_if<Bias>(&modifier)) return &bias->values;
  if (const auto* temperature = std::get_if<Temperature>(&modifier)) return &temperature->values;
  if (const auto* alibi = std::get_if<Alibi>(&modifier)) return &alibi->slopes;
  if (const auto* relative = std::get_if<RelativeBias>(&modifier)) return &relative->table;
  if (const auto* sinks = std::get_if<Sinks>(&modifier)) return &sinks->logits;
  if (const auto* multiplier = std::get_if<Multiplier>(&modifier)) return &multiplier->values;
  if (const auto* gaussian = std::get_if<Gaussian>(&modifier)) return &gaussian->centre;
  return nullptr;
}

}  // namespace regard
