// Options::modifiers as the kernels' list of stages.
#pragma once

#include <vector>

#include "core/kernels/kernels.h"
#include "regard/attention.h"

namespace regard {

// The fixed order of the stages, whatever the order of the list: biases before the softcap, softcap, biases. `d_bias` has a view per bias, in
// the order of options.modifiers, or is empty.
void order_stages(const Options& options, const Shape& full, const std::vector<MutableTensorView>& d_bias, std::vector<kernels::Stage>& stages);

}  // namespace regard
