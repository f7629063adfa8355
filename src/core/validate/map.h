// SPDX-License-Identifier: Apache-2.0
// Checks of what a map is asked for, after validate_scores().
#pragma once

#include "core/kernels/map/map_task.h"

namespace regard {

// The region with the size of its axis for each end of -1.
MapRegion resolved(MapRegion region, const MapInputs& inputs);

// Checks the region, as the caller gave it, and the views of `task` against q and k.
Status validate_map(const kernels::MapTask& task, const MapInputs& inputs, const Options& options);
Status validate_rollout(std::span<const RolloutLayer> layers, double residual,
                        const MutableTensorView& rows);

}  // namespace regard
