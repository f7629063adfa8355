// Checks of Options::modifiers and of the gradients asked of them.
#pragma once

#include <vector>

#include "regard/attention.h"

namespace regard {

// `scores` is (batch, heads, len_q, len_k).
Status check_modifiers(const std::vector<Modifier>& modifiers, const Shape& scores);
// After check_modifiers. Views and dtypes are checked here, whether a function has a derivative too.
Status check_modifier_gradients(const std::vector<MutableTensorView>& gradients, const std::vector<Modifier>& modifiers);

}  // namespace regard
