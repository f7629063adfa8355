// SPDX-License-Identifier: Apache-2.0
// PyTorch tensors as views of the core, and outputs made for it.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard::torch_ops {

using torch::stable::Tensor;

// How the axes of query, key and value are ordered. The numbers are those of
// python/regard/_torch/options.py.
enum class AxisOrder : std::int64_t {
  kBhsd = 0,  // (..., heads, seq, dim), rank 2 to 4
  kBshd = 1,  // (..., seq, heads, dim), rank 3 or 4
  kThd = 2,   // (total, heads, dim)
};
AxisOrder axis_order(std::int64_t code);

// Rank, sizes, strides, element type and address, read once.
struct Described {
  explicit Described(const Tensor& tensor, const char* name);

  std::int64_t rank;
  const std::int64_t* sizes;
  const std::int64_t* strides;
  DType dtype;
  void* data;  // never null, also where there are no elements
};

// The view of a query, key, value, output or gradient of these axes.
MutableTensorView axes_view(const Described& tensor, AxisOrder order, const char* name);
// The view of a tensor that broadcasts to (batch, heads, len_q, len_k): sizes of 1 are put in front
// up to rank 4.
MutableTensorView broadcast_view(const Described& tensor, const char* name);
// The view of a statistic (..., heads, seq), as (batch, heads, seq, 1).
MutableTensorView row_view(const Described& tensor, const char* name);

// Uninitialised, on the CPU. Strides are those of a contiguous tensor unless given.
Tensor make_tensor(const std::int64_t* sizes, std::int64_t rank, DType dtype,
                   const std::int64_t* strides = nullptr);

// Throws what arrives in Python as ValueError for the caller's mistakes, MemoryError for memory and
// RuntimeError for the rest.
void raise_if_failed(const Status& status);

}  // namespace regard::torch_ops
