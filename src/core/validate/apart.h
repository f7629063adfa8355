// SPDX-License-Identifier: Apache-2.0
// Checks that what a call writes shares no memory with what it reads, or with other results. They
// come after the checks of the views themselves. Masks are read before anything is written.
#pragma once

#include "regard/attention.h"
#include "regard/map.h"
#include "regard/state.h"

namespace regard {

// out may lie over the queries, element for element: a row of queries is read by the item that
// writes its outputs, which it does last.
Status check_forward_apart(const Inputs& inputs, const Options& options, const Outputs& outputs);
Status check_backward_apart(const BackwardInputs& inputs, const Options& options,
                            const Gradients& gradients);
// `keys` and `row_weights` may not be given.
Status check_map_apart(const MapInputs& inputs, const Options& options, const char* name,
                       const MutableTensorView& answer, const MutableTensorView& keys,
                       const TensorView& row_weights);
Status check_merge_apart(const State& other, const State& into);
Status check_merge_backward_apart(const State& part, const State& whole, const TensorView& d_out,
                                  const TensorView& d_lse, const StateGradients& gradients);

}  // namespace regard
