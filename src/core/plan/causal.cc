// SPDX-License-Identifier: Apache-2.0
#include "regard/mask.h"

namespace regard {

// A window without a left end.
Mask causal(std::optional<std::int64_t> offset) { return window(-1, 0, offset); }

}  // namespace regard
