// SPDX-License-Identifier: Apache-2.0
// Checks of everything a caller hands in, before any memory is touched.
#pragma once

#include "regard/attention.h"
#include "regard/state.h"

namespace regard {

Status validate_forward(const Inputs& inputs, const Options& options, const Outputs& outputs);
Status validate_backward(const BackwardInputs& inputs, const Options& options,
                         const Gradients& gradients);
// Of maps: queries, keys and options, and the statistics where they are given.
Status validate_scores(const TensorView& q, const TensorView& k, const Options& options,
                       const TensorView& maximum, const TensorView& log_sum);
Status validate_prepare_keys(const TensorView& k, const MutableTensorView& prepared);
Status validate_merge(const State& other, const State& into);
Status validate_merge_backward(const State& part, const State& whole, const TensorView& d_out,
                               const TensorView& d_lse, const StateGradients& gradients);

}  // namespace regard
