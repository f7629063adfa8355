// SPDX-License-Identifier: Apache-2.0
// Attention over parts: states over disjoint keys merge into the state over their union.
//
// A state is what forward() writes when maximum and log_sum are asked for: the normalised output of
// a set of keys, and the two halves of its lse. Split keys, ring blocks, pages and memory + context
// are all merges of such states. Where a part stands in the whole is said by Options::part.
//
// Sinks join once, when a row is finished, and never a part: as a state of their own, with out 0,
// their largest logit as maximum and the log of their sum, sum_m exp(logit_m - maximum), as
// log_sum.
//
// Gradients reach the parts in one of two ways. backward() of a part may be given that part's own
// out, maximum and log_sum, and what merge_backward() makes of the gradients that arrive at the
// whole. Or it is given the whole's out, maximum, log_sum and gradients: it then recomputes the
// weights that its keys have in the whole, and needs no merge_backward(). Either way dq is the sum
// over the parts of a row's keys, dk and dv those over the parts of a key's queries.
#pragma once

#include "regard/executor.h"
#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// out (batch, heads, len_q, dim_v), float32 (or float64); maximum and log_sum (batch, heads, len_q,
// 1) of the same dtype.
struct State {
  MutableTensorView out, maximum, log_sum;
};

// into <- into + other, row by row. Rows that saw nothing (maximum -inf) leave the other side
// unchanged; two of them give out 0, lse -inf. All six views agree in shape and dtype; dim_v may be
// anything. Those of `into` share no memory with each other or with `other`.
Status merge(const State& other, const State& into);

// What arrives at one part: d_out as its out; d_lse as its log_sum, and given only where it is
// wanted.
struct StateGradients {
  MutableTensorView d_out, d_lse;
};

// The gradient of a merge. `part` is one of the states that were merged, `whole` what came of all
// of them; d_out, as whole.out, and d_lse, as whole.log_sum and optional, arrive at the whole. With
// w = exp(lse_part - lse_whole):
//
//   gradients.d_out = w d_out          gradients.d_lse = w (d_out . (out_part - out_whole) + d_lse)
//
// lse is maximum + log_sum, and its gradient that of log_sum: the maximum is where the sum was
// taken from, and carries none of its own. Rows of a part that saw nothing get gradient 0. All
// views agree in shape and dtype as those of merge(). The gradients share no memory with each other
// or with what is read.
Status merge_backward(const State& part, const State& whole, const TensorView& d_out,
                      const TensorView& d_lse, const StateGradients& gradients);

}  // namespace regard
