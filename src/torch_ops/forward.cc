// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "torch_ops/executor.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

std::tuple<Tensor, Tensor> run(const Problem& problem, const Options& options, const Plan* plan,
                               bool lse) {
  Tensor out = problem.make_output();
  Tensor statistics = problem.make_statistics(lse ? 3 : 2);
  Outputs outputs;
  outputs.out = axes_view(Described(out, "out"), problem.order, "out");
  outputs.maximum = problem.statistic(statistics, 0);
  outputs.log_sum = problem.statistic(statistics, 1);
  if (lse) outputs.lse = problem.statistic(statistics, 2);
  raise_if_failed(forward(problem.inputs(), options, outputs, TorchExecutor(), plan));
  return {out, statistics};
}

Tensor output_of(const Problem& problem, const Options& options) {
  Tensor out = problem.make_output();
  Outputs outputs;
  outputs.out = axes_view(Described(out, "out"), problem.order, "out");
  raise_if_failed(forward(problem.inputs(), options, outputs, TorchExecutor()));
  return out;
}

}  // namespace

Tensor attend(Tensor query, Tensor key, Tensor value, std::int64_t mask,
              std::optional<double> scale) {
  return output_of(Problem(query, key, value, AxisOrder::kBhsd), common_options(mask, scale));
}

Tensor attend_with(Tensor query, Tensor key, Tensor value, Ints ints, std::optional<Floats> floats,
                   Tensors tensors, std::int64_t order) {
  return output_of(Problem(query, key, value, axis_order(order)),
                   decode_options(ints, floats.value_or(Floats()), tensors));
}

std::tuple<Tensor, Tensor> attend_for_gradients(Tensor query, Tensor key, Tensor value,
                                                std::int64_t mask, std::optional<double> scale) {
  const Problem problem(query, key, value, AxisOrder::kBhsd);
  if (problem.repeats)
    throw std::invalid_argument(
        "query, key, value: shapes differ; their gradients need each of its own shape");
  return run(problem, common_options(mask, scale), nullptr, false);
}

std::tuple<Tensor, Tensor> forward_op(Tensor query, Tensor key, Tensor value, Ints ints,
                                      Floats floats, Tensors tensors, std::int64_t order,
                                      std::int64_t plan, bool lse) {
  return run(Problem(query, key, value, axis_order(order)), decode_options(ints, floats, tensors),
             plan_of(plan).get(), lse);
}

std::tuple<Tensor, Tensor> infer(Tensor query, Tensor key, Tensor value, Ints ints, Floats floats,
                                 Tensors tensors, std::int64_t order, std::int64_t plan, bool lse) {
  const Problem problem(query, key, value, axis_order(order));
  Tensor out = problem.make_output();
  Tensor statistics = problem.make_statistics(lse ? 1 : 0);
  Outputs outputs;
  outputs.out = axes_view(Described(out, "out"), problem.order, "out");
  if (lse) outputs.lse = problem.statistic(statistics, 0);
  raise_if_failed(forward(problem.inputs(), decode_options(ints, floats, tensors), outputs,
                          TorchExecutor(), plan_of(plan).get()));
  return {out, statistics};
}

std::tuple<Tensor, Tensor, Tensor> attention_op(Tensor query, Tensor key, Tensor value, Ints ints,
                                                Floats floats, Tensors tensors,
                                                std::int64_t order) {
  const Problem problem(query, key, value, axis_order(order));
  const Options options = decode_options(ints, floats, tensors);
  Tensor out = problem.make_output();
  Tensor statistics = problem.make_statistics(2);
  const Described described(statistics, "statistics");
  Tensor lse = make_tensor(described.sizes + 1, described.rank - 1, described.dtype);
  Outputs outputs;
  outputs.out = axes_view(Described(out, "out"), problem.order, "out");
  outputs.maximum = problem.statistic(statistics, 0);
  outputs.log_sum = problem.statistic(statistics, 1);
  outputs.lse = row_view(Described(lse, "lse"), "lse");
  raise_if_failed(forward(problem.inputs(), options, outputs, TorchExecutor()));
  return {out, lse, statistics};
}

Tensor prepare_keys_op(Tensor key) {
  const Described described(key, "key");
  const TensorView k = as_const(broadcast_view(described, "key"));
  Tensor prepared = make_tensor(described.sizes, described.rank,
                                k.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32);
  raise_if_failed(prepare_keys(k, broadcast_view(Described(prepared, "prepared"), "prepared"),
                               TorchExecutor()));
  return prepared;
}

}  // namespace regard::torch_ops
