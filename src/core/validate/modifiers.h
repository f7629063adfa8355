// Checks of Options::modifiers and of the gradients asked of them.
#pragma once

#include <vector>

#include "regard/attention.h"

namespace regard {

// `scores` is (batch, heads, len_q, len_k).
// `own`: float64, or float32 for all other inputs, which is what kernels compute in.
Status check_modifiers(const std::vector<Modifier>& modifiers, const Shape& scores, DType own);
// After check_modifiers. Views and dtypes are checked here, whether a function has a derivative
// too.
Status check_modifier_gradients(const std::vector<MutableTensorView>& gradients,
                                const std::vector<Modifier>& modifiers);

}  // namespace regard
