// SPDX-License-Identifier: Apache-2.0
#include "regard/map.h"

#include <torch/csrc/stable/ops.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "torch_ops/executor.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

MapRegion region_of(const Ints& ends) {
  if (ends.size() != 8)
    throw std::invalid_argument("region: " + std::to_string(ends.size()) +
                                " numbers; expected begin and end of batches, heads, rows, keys");
  return {ends[0], ends[1], ends[2], ends[3], ends[4], ends[5], ends[6], ends[7]};
}

void expect_size(const Ints& size, std::size_t count, const std::string& kind) {
  if (size.size() != count)
    throw std::invalid_argument("size: " + std::to_string(size.size()) + " numbers; expected " +
                                std::to_string(count) + " for " + kind);
}

Pooling pooling_of(const std::string& name) {
  if (name == "max") return Pooling::kMax;
  if (name == "mean") return Pooling::kMean;
  if (name == "sum") return Pooling::kSum;
  throw std::invalid_argument("pooling: '" + name + "'; expected max, mean or sum");
}

MapInputs inputs_of(const Problem& problem, const std::optional<Tensor>& maximum,
                    const std::optional<Tensor>& log_sum) {
  MapInputs inputs{as_const(problem.q), as_const(problem.k), {}, {}};
  if (maximum) inputs.maximum = as_const(row_view(Described(*maximum, "state"), "state"));
  if (log_sum) inputs.log_sum = as_const(row_view(Described(*log_sum, "state"), "state"));
  return inputs;
}

Tensor make_answer(const std::array<std::int64_t, 4>& shape, DType dtype) {
  return make_tensor(shape.data(), 4, dtype);
}

}  // namespace

Tensors map_op(Tensor query, Tensor key, std::optional<Tensor> maximum,
               std::optional<Tensor> log_sum, std::optional<Tensor> row_weights, Ints ints,
               Floats floats, Tensors tensors, std::int64_t order, std::int64_t plan,
               std::string kind, Ints region, bool mean_heads, Ints size, std::string pooling) {
  const Problem problem(query, key, key, axis_order(order));
  const Options options = decode_options(ints, floats, tensors);
  const MapInputs inputs = inputs_of(problem, maximum, log_sum);
  const MapRegion where = region_of(region);
  const std::shared_ptr<const Plan> held = plan_of(plan);
  const TorchExecutor executor;
  const DType own = problem.q.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const std::int64_t batches = where.batch_end - where.batch_begin,
                     heads = mean_heads ? 1 : where.head_end - where.head_begin;
  const std::int64_t rows = where.row_end - where.row_begin, keys = where.key_end - where.key_begin;

  const auto answer = [&](std::int64_t height, std::int64_t width, DType dtype) {
    return make_answer({batches, heads, height, width}, dtype);
  };
  const auto view = [](const Tensor& tensor) {
    return broadcast_view(Described(tensor, "answer"), "answer");
  };
  if (kind == "weights") {
    Tensor out = answer(rows, keys, own);
    raise_if_failed(attention_weights(inputs, options, where, view(out), executor, held.get()));
    return {out};
  }
  if (kind == "picture") {
    expect_size(size, 2, kind);
    Tensor out = answer(size[0], size[1], own);
    raise_if_failed(attention_picture(inputs, options, where, pooling_of(pooling), view(out),
                                      executor, held.get()));
    return {out};
  }
  if (kind == "entropy") {
    Tensor out = answer(rows, 1, own);
    raise_if_failed(attention_entropy(inputs, options, where, view(out), executor, held.get()));
    return {out};
  }
  if (kind == "top") {
    expect_size(size, 1, kind);
    Tensor found = answer(rows, size[0], own), places = answer(rows, size[0], DType::kInt64);
    raise_if_failed(
        attention_top(inputs, options, where, view(places), view(found), executor, held.get()));
    return {found, places};
  }
  if (kind == "column_sums") {
    const TensorView weights =
        row_weights
            ? as_const(broadcast_view(Described(*row_weights, "row_weights"), "row_weights"))
            : TensorView{};
    Tensor out = answer(row_weights ? weights.shape[2] : 1, keys, own);
    raise_if_failed(
        attention_column_sums(inputs, options, where, weights, view(out), executor, held.get()));
    return {out};
  }
  throw std::invalid_argument("kind: '" + kind +
                              "'; expected weights, picture, entropy, top or column_sums");
}

Tensor rollout_layer(Tensor query, Tensor key, std::optional<Tensor> maximum,
                     std::optional<Tensor> log_sum, Tensor rows, Ints ints, Floats floats,
                     Tensors tensors, std::int64_t order, std::int64_t plan, double residual) {
  const Problem problem(query, key, key, axis_order(order));
  const std::shared_ptr<const Plan> held = plan_of(plan);
  const RolloutLayer layer{inputs_of(problem, maximum, log_sum),
                           decode_options(ints, floats, tensors), held.get()};
  Tensor passed = torch::stable::clone(rows);
  raise_if_failed(attention_rollout(
      {&layer, 1}, residual, broadcast_view(Described(passed, "rows"), "rows"), TorchExecutor()));
  return passed;
}

}  // namespace regard::torch_ops
