// SPDX-License-Identifier: Apache-2.0
// A state as its rows are walked.
#pragma once

#include "regard/state.h"

namespace regard {

// The views of one state at one (batch, head), to be read row by row.
template <typename T>
struct StateRows {
  T *out, *maximum, *log_sum;
  std::int64_t out_row, out_dim, maximum_row, log_sum_row;  // strides

  StateRows(const State& state, std::int64_t b, std::int64_t h)
      : out(at(state.out, b, h)),
        maximum(at(state.maximum, b, h)),
        log_sum(at(state.log_sum, b, h)),
        out_row(state.out.strides[2]),
        out_dim(state.out.strides[3]),
        maximum_row(state.maximum.strides[2]),
        log_sum_row(state.log_sum.strides[2]) {}

  static T* at(const MutableTensorView& view, std::int64_t b, std::int64_t h) {
    return static_cast<T*>(view.data) + b * view.strides[0] + h * view.strides[1];
  }
};

}  // namespace regard
