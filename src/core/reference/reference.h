// Scalar float64 attention from the formula, for users who want to check: slow, simple, same arguments as the kernels.
#pragma once

#include "core/plan/layout.h"
#include "regard/attention.h"

namespace regard::reference {

// Arguments are valid (core/validate.h), and `layout` is the plan of options.mask for them.
void forward(const Inputs& inputs, const Options& options, const Outputs& outputs, const plan::Layout& layout);
void backward(const BackwardInputs& inputs, const Options& options, const Gradients& gradients, const plan::Layout& layout);

}  // namespace regard::reference
