// SPDX-License-Identifier: Apache-2.0
// Attention with additive scores to compute.
#pragma once

#include "tests/core/support/problem.h"

namespace regard::testing {

// Normal values, a v for each head or one for all, gradients of out and lse.
Problem additive_problem(Random& random, DType dtype, const Sizes& sizes, bool shared_v = false);

// The problem with its keys prepared, lying as `lie` says.
Problem with_prepared_keys(Problem p, Lie lie = Lie::kBhsd);

}  // namespace regard::testing
