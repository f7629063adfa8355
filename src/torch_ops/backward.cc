// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "torch_ops/executor.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

bool asks_for(std::int64_t wanted, std::size_t bit) { return (wanted >> bit & 1) != 0; }

// A gradient of the input's shape, in the memory order of a contiguous tensor.
Tensor gradient_of(const Tensor& input, Tensors& gradients) {
  const Described described(input, "input");
  gradients.push_back(make_tensor(described.sizes, described.rank, described.dtype));
  return gradients.back();
}

// Everything that both operators below share.
struct Pass {
  Problem problem;
  BackwardInputs inputs;
  Gradients gradients;
  Tensors results;

  Pass(const Tensor& d_out, const Tensor& query, const Tensor& key, const Tensor& value,
       const Tensor& out, const Tensor& statistics, AxisOrder order, std::int64_t wanted)
      : problem(query, key, value, order) {
    inputs.q = as_const(problem.q);
    inputs.k = as_const(problem.k);
    inputs.v = as_const(problem.v);
    inputs.out = as_const(axes_view(Described(out, "out"), order, "out"));
    inputs.d_out =
        as_const(axes_view(Described(d_out, "gradient of out"), order, "gradient of out"));
    inputs.maximum = as_const(problem.statistic(statistics, 0));
    inputs.log_sum = as_const(problem.statistic(statistics, 1));
    const auto make = [&](std::size_t bit, const Tensor& input, MutableTensorView& view) {
      if (asks_for(wanted, bit))
        view = axes_view(Described(gradient_of(input, results), "gradient"), order, "gradient");
    };
    make(0, query, gradients.dq);
    make(1, key, gradients.dk);
    make(2, value, gradients.dv);
  }

  Tensors run(const Options& options, const Plan* plan) {
    raise_if_failed(backward(inputs, options, gradients, TorchExecutor(), plan));
    return std::move(results);
  }
};

}  // namespace

Tensors attend_backward(Tensor d_out, Tensor query, Tensor key, Tensor value, Tensor out,
                        Tensor statistics, std::int64_t mask, std::optional<double> scale,
                        std::int64_t wanted) {
  return Pass(d_out, query, key, value, out, statistics, AxisOrder::kBhsd, wanted)
      .run(common_options(mask, scale), nullptr);
}

Tensors backward_op(Tensor d_out, std::optional<Tensor> d_lse, Tensor query, Tensor key,
                    Tensor value, Tensor out, Tensor statistics, Ints ints, Floats floats,
                    Tensors tensors, std::int64_t order, std::int64_t plan, std::int64_t wanted) {
  Differentiable differentiable;
  const Options options = decode_options(ints, floats, tensors, &differentiable);
  Pass pass(d_out, query, key, value, out, statistics, axis_order(order), wanted);
  if (d_lse)
    pass.inputs.d_lse = as_const(row_view(Described(*d_lse, "gradient of lse"), "gradient of lse"));
  pass.gradients.d_modifiers.resize(differentiable.modifiers.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!asks_for(wanted, 3 + i)) continue;
    const auto& modifiers = differentiable.modifiers;
    const auto entry = std::find(modifiers.begin(), modifiers.end(), i);
    const bool is_score_v = differentiable.score_v == i;
    if (entry == modifiers.end() && !is_score_v)
      throw std::invalid_argument("wanted: tensor " + std::to_string(i) +
                                  " of the options has no gradient");
    const Tensor gradient = gradient_of(tensors[i], pass.results);
    MutableTensorView& view =
        is_score_v
            ? pass.gradients.d_score_v
            : pass.gradients.d_modifiers[static_cast<std::size_t>(entry - modifiers.begin())];
    view = broadcast_view(Described(gradient, "gradient of an option"), "gradient of an option");
  }
  return pass.run(options, plan_of(plan).get());
}

}  // namespace regard::torch_ops
