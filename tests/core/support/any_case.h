// SPDX-License-Identifier: Apache-2.0
// Random attentions of every kind: shapes, layouts, masks, modifiers, scores, dtypes and wanted
// gradients. For use inside rapidcheck properties and generators.
#pragma once

#include "tests/core/support/case.h"

namespace regard::testing {

// A case whose cost (pairs times dims) is at most `most`.
Case any_case(double most);

}  // namespace regard::testing
