// SPDX-License-Identifier: Apache-2.0
#include "regard/state.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "torch_ops/executor.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

State state_of(const Tensor& out, const Tensor& maximum, const Tensor& log_sum, AxisOrder order) {
  return {axes_view(Described(out, "out"), order, "out"),
          row_view(Described(maximum, "maximum"), "maximum"),
          row_view(Described(log_sum, "log_sum"), "log_sum")};
}

Tensor like(const Tensor& tensor) {
  const Described described(tensor, "state");
  return make_tensor(described.sizes, described.rank, described.dtype);
}

// A state that has seen nothing yet. Its out and log_sum need no value.
void empty(const State& state) {
  const auto& [batch, heads, length, one] = state.maximum.shape;
  const std::int64_t rows = batch * heads * length;
  if (state.maximum.dtype == DType::kFloat64) {
    std::fill_n(static_cast<double*>(state.maximum.data), rows,
                -std::numeric_limits<double>::infinity());
  } else if (state.maximum.dtype == DType::kFloat32) {
    std::fill_n(static_cast<float*>(state.maximum.data), rows,
                -std::numeric_limits<float>::infinity());
  } else {
    throw std::invalid_argument("states: expected float32 or float64");
  }
}

constexpr std::size_t kMostStates = 31;  // of one merge: `wanted` has two bits for each

void check_lists(const Tensors& outs, const Tensors& maxima, const Tensors& log_sums) {
  if (outs.empty() || outs.size() > kMostStates || outs.size() != maxima.size() ||
      outs.size() != log_sums.size()) {
    throw std::invalid_argument(
        "states: " + std::to_string(outs.size()) + " outs, " + std::to_string(maxima.size()) +
        " maxima, " + std::to_string(log_sums.size()) +
        " log_sums; expected one of each for every state, and 1 to 31 states");
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> attention_state(Tensor query, Tensor key, Tensor value,
                                                   Ints ints, Floats floats, Tensors tensors,
                                                   std::int64_t order) {
  const Problem problem(query, key, value, axis_order(order));
  Problem wide = problem;
  if (wide.q.dtype != DType::kFloat64) wide.q.dtype = DType::kFloat32;
  Tensor out = wide.make_output();
  const Tensor statistics = problem.make_statistics(1);
  const Described described(statistics, "statistics");
  Tensor maximum = make_tensor(described.sizes + 1, described.rank - 1, described.dtype);
  Tensor log_sum = make_tensor(described.sizes + 1, described.rank - 1, described.dtype);
  const State state = state_of(out, maximum, log_sum, problem.order);
  raise_if_failed(forward(problem.inputs(), decode_options(ints, floats, tensors),
                          {state.out, state.maximum, state.log_sum, {}}, TorchExecutor()));
  return {out, maximum, log_sum};
}

std::tuple<Tensor, Tensor, Tensor> merge_states(Tensors outs, Tensors maxima, Tensors log_sums,
                                                std::int64_t order) {
  check_lists(outs, maxima, log_sums);
  Tensor out = like(outs[0]), maximum = like(maxima[0]), log_sum = like(log_sums[0]);
  const State into = state_of(out, maximum, log_sum, axis_order(order));
  empty(into);
  for (std::size_t n = 0; n < outs.size(); ++n)
    raise_if_failed(merge(state_of(outs[n], maxima[n], log_sums[n], axis_order(order)), into));
  return {out, maximum, log_sum};
}

Tensors merge_states_backward(Tensor d_out, std::optional<Tensor> d_log_sum, Tensors outs,
                              Tensors maxima, Tensors log_sums, Tensors whole, std::int64_t order,
                              std::int64_t wanted) {
  check_lists(outs, maxima, log_sums);
  if (whole.size() != 3) throw std::invalid_argument("whole: expected out, maximum and log_sum");
  const AxisOrder axes = axis_order(order);
  const State all = state_of(whole[0], whole[1], whole[2], axes);
  const TensorView arriving =
      as_const(axes_view(Described(d_out, "gradient of out"), axes, "gradient of out"));
  TensorView d_lse;
  if (d_log_sum)
    d_lse = as_const(row_view(Described(*d_log_sum, "gradient of log_sum"), "gradient of log_sum"));
  Tensors results, d_log_sums;
  for (std::size_t n = 0; n < outs.size(); ++n) {
    StateGradients gradients;
    if ((wanted >> n & 1) != 0) {
      results.push_back(like(outs[n]));
      gradients.d_out = axes_view(Described(results.back(), "gradient"), axes, "gradient");
    }
    if ((wanted >> (outs.size() + n) & 1) != 0) {
      d_log_sums.push_back(like(log_sums[n]));
      gradients.d_lse = row_view(Described(d_log_sums.back(), "gradient"), "gradient");
    }
    raise_if_failed(merge_backward(state_of(outs[n], maxima[n], log_sums[n], axes), all, arriving,
                                   d_lse, gradients));
  }
  results.insert(results.end(), d_log_sums.begin(), d_log_sums.end());
  return results;
}

}  // namespace regard::torch_ops
