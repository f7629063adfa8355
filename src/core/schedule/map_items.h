// SPDX-License-Identifier: Apache-2.0
// How a map is cut into work items.
#pragma once

#include "core/kernels/map/map_task.h"

namespace regard::schedule {

// Fills items and what kernels look up by sequence; the region is valid and not empty. Cuts depend
// on the shapes and the region alone.
void cut_map(kernels::MapTask& task);

// Makes task.pass.items those of a forward pass over the region's rows and heads.
void cut_statistics(kernels::MapTask& task);

}  // namespace regard::schedule
