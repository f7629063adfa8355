// Checks of what a map is asked for, after validate_scores().
#pragma once

#include "core/kernels/map_task.h"

namespace regard {

// Resolves the region's ends and checks it and the views of `task` against q and k; sets task.mean.
Status validate_map(kernels::MapTask& task, const MapInputs& inputs);
Status validate_rollout(std::span<const RolloutLayer> layers, double residual,
                        const MutableTensorView& rows);

}  // namespace regard
