// SPDX-License-Identifier: Apache-2.0
// Checks of Options::modifiers and of the gradients asked of them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/validate/overlap.h"
#include "regard/attention.h"

namespace regard {

// `scores` is (batch, heads, len_q, len_k).
// `own`: float64, or float32 for all other inputs, which is what kernels compute in.
Status check_modifiers(const std::vector<Modifier>& modifiers, const Shape& scores, DType own);
// After check_modifiers. Views and dtypes are checked here, whether a function has a derivative
// too.
Status check_modifier_gradients(const std::vector<MutableTensorView>& gradients,
                                const std::vector<Modifier>& modifiers);

// What errors call the gradients, one for each modifier that can have one: "d_bias[1]".
std::vector<std::string> names_of_gradients(const std::vector<Modifier>& modifiers);
// Whether what is written lies apart from all tensors of the modifiers.
Status check_modifiers_apart(std::span<const NamedView> written,
                             const std::vector<Modifier>& modifiers);

}  // namespace regard
