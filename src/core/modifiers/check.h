// SPDX-License-Identifier: Apache-2.0
// Checks that the descriptions of several modifiers share. `name` is the modifier's, in messages.
#pragma once

#include <initializer_list>
#include <string>

#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard::modifiers {

inline Status invalid(const std::string& name, const std::string& what) {
  return Status::invalid(name + ": " + what);
}

// A floating tensor that broadcasts to `full`, which are `axes`.
Status check_tensor(const std::string& name, const TensorView& view, const Shape& full,
                    const char* axes);

// A number above 0 that kernels, which compute in `own`, make `used` of.
Status check_positive(const std::string& name, double value, std::initializer_list<double> used,
                      DType own);

}  // namespace regard::modifiers
