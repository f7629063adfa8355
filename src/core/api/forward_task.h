// SPDX-License-Identifier: Apache-2.0
// A forward pass from what a caller asks for to its work items: what forward() and maps share.
#pragma once

#include "core/api/additive.h"
#include "core/api/modifiers.h"
#include "core/kernels/kernels.h"
#include "core/plan/layout.h"
#include "regard/attention.h"
#include "regard/executor.h"

namespace regard {

// Fills all of `task` but its items. The arguments are valid; they, `own`, `modifiers` and
// `additive` must outlive the task's use.
Status prepare_forward(const Inputs& inputs, const Options& options, const Outputs& outputs,
                       const Plan* plan, plan::Layout& own, ModifierMemory& modifiers,
                       AdditiveMemory& additive, kernels::ForwardTask& task);

// The same where task.layout is the layout already.
Status prepare_pass(const Inputs& inputs, const Options& options, const Outputs& outputs,
                    ModifierMemory& modifiers, AdditiveMemory& additive,
                    kernels::ForwardTask& task);

// Runs the task's items.
Status run_forward(const kernels::ForwardTask& task, const Executor& executor);

// Multiply-adds of all pairs, where the pass has items.
double work_of_pass(const kernels::ForwardTask& task);
// Multiply-adds of one pair of query and key.
double work_of_pair(const kernels::ForwardTask& task);

}  // namespace regard
