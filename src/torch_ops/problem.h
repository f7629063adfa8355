// SPDX-License-Identifier: Apache-2.0
// What an operator is asked: the views of query, key and value, and the decoded options.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "regard/encoding.h"
#include "regard/plan.h"
#include "torch_ops/tensors.h"

namespace regard::torch_ops {

// Query, key and value as views that agree in their batch (and heads, where one of them is 1 and
// may stand for all): axes of size 1 are repeated by a stride of 0. What still disagrees is left
// for the core to name.
struct Problem {
  Problem(const Tensor& query, const Tensor& key, const Tensor& value, AxisOrder order);

  AxisOrder order;
  std::int64_t rank;  // of the outputs: the largest of the three
  MutableTensorView q, k, v;
  bool repeats;  // something stands for several: the three differ in rank, or an axis of size 1 was
                 // repeated
  bool heads_inside;  // the query keeps the heads of one position together, though its axes say
                      // (heads, seq)

  Inputs inputs() const { return {as_const(q), as_const(k), as_const(v)}; }
  // The output in the axis order of the inputs; its memory lies in the query's order, so that the
  // (batch, seq, heads * dim) that most models want next is a view of it.
  Tensor make_output() const;
  // `count` statistics (..., heads, seq) in one tensor, float32 (float64 for float64).
  Tensor make_statistics(std::int64_t count) const;
  // Statistic n of such a tensor, as (batch, heads, seq, 1).
  MutableTensorView statistic(const Tensor& statistics, std::int64_t n) const;
};

// Options from the three lists of regard/encoding.h. `tensors` must outlive their use.
Options decode_options(const std::vector<std::int64_t>& ints, const std::vector<double>& floats,
                       const std::vector<Tensor>& tensors,
                       Differentiable* differentiable = nullptr);

// Options of the operators that carry no lists: `mask` is 0 for none, 1 for causal, 2 for causal
// with offset 0.
Options common_options(std::int64_t mask, std::optional<double> scale);

// The plan that make_plan gave this number, kept alive while it is looked at; nullptr for 0.
std::shared_ptr<const Plan> plan_of(std::int64_t number);

}  // namespace regard::torch_ops
