// Attention over parts: states over disjoint keys merge into the state over their union.
//
// A state is what forward() writes when maximum and log_sum are asked for: the normalised output of a set of keys, and the two
// halves of its lse. Split keys, ring blocks, pages and memory + context are all merges of such states.
#pragma once

#include "regard/executor.h"
#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// out (batch, heads, len_q, dim_v), float32 (or float64); maximum and log_sum (batch, heads, len_q, 1) of the same dtype.
struct State {
  MutableTensorView out, maximum, log_sum;
};

// into <- into + other, row by row. Rows that saw nothing (maximum -inf) leave the other side unchanged; two of them give
// out 0, lse -inf. All six views agree in shape and dtype; dim_v may be anything.
Status merge(const State& other, const State& into);

}  // namespace regard
