// SPDX-License-Identifier: Apache-2.0
// How the forward pass is cut into work items.
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernels/kernels.h"

namespace regard::schedule {

// Fills task.items from task.layout and task.group. A row's bits do not depend on the cuts, only
// the balance between workers does.
void cut_forward(kernels::ForwardTask& task);

}  // namespace regard::schedule
