// SPDX-License-Identifier: Apache-2.0
// The layout of a call: the caller's plan where one was handed in and fits, else one made now.
#pragma once

#include "core/plan/layout.h"
#include "regard/attention.h"
#include "regard/plan.h"

namespace regard {

// *chosen points into `plan` or at `own`. The inputs are valid.
Status plan_for(const Options& options, const Inputs& inputs, const Plan* plan, plan::Layout& own,
                const plan::Layout** chosen);

// The layout, or its ordered one, where it has one and nothing in the options looks at where rows
// lie.
const plan::Layout& in_best_order(const plan::Layout& layout, const Options& options,
                                  const Inputs& inputs);

}  // namespace regard
