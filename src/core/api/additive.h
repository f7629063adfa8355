// SPDX-License-Identifier: Apache-2.0
// The learned vectors of additive scores on their way into the kernels, and their gradients on the
// way back.
#pragma once

#include <memory>

#include "core/kernels/kernels.h"
#include "core/schedule/scratch.h"
#include "regard/attention.h"

namespace regard {

// The scale where none is given: 1 / sqrt(dim) for dot products, 1 for additive scores.
double scale_of(const Options& options, std::int64_t dim);

// Multiply-adds that one tanh is worth.
inline constexpr int kTanh = 4;

// The kernels that serve these options.
const kernels::KernelSet& set_for(const Options& options, DType dtype);

// What the kernels read of Additive::v, for the time of one call.
class AdditiveMemory {
 public:
  // Fills `vectors`; where scores are dot products it says so. `k` is the shape of the keys.
  Status prepare(const Options& options, const Shape& k, const kernels::KernelSet& set, DType own,
                 double scale, kernels::AdditiveVectors& vectors);
  // Memory for what each key block, sequence and head adds to the gradient of v.
  Status prepare_gradient(kernels::BackwardTask& task, DType own);
  // Their sum, in their order, into the gradient.
  void write_gradient(const kernels::BackwardTask& task, const kernels::KernelSet& set, DType own,
                      double scale) const;

 private:
  std::unique_ptr<schedule::ScratchMemory> vectors_, slots_;
};

}  // namespace regard
