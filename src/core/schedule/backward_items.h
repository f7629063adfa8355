// SPDX-License-Identifier: Apache-2.0
// How the backward pass is cut into work items, and who owns which sum.
#pragma once

#include <cstdint>

#include "core/kernels/kernels.h"

namespace regard::schedule {

// Fills task.blocks and task.sequences; comes before cut_backward.
void count_blocks(kernels::BackwardTask& task);

// Fills block ranges, the first ticket of each sequence and chunk ranges of the task; returns how
// many tickets it needs (0: no sum spans blocks).
std::int64_t cut_backward(kernels::BackwardTask& task);

}  // namespace regard::schedule
