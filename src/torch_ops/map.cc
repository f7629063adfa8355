#include "regard/map.h"

#include <array>
#include <stdexcept>
#include <string>

#include "torch_ops/executor.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

// The answers, as python/regard/_map.py numbers them.
enum class Kind : std::int64_t {
  kWeights = 0,
  kPicture = 1,
  kEntropy = 2,
  kTop = 3,
  kColumnSums = 4
};

// Ends of a region that Python has resolved, whether the mean over heads is wanted, and two sizes
// that the kind gives a meaning.
struct Wanted {
  MapRegion region;
  bool mean;
  std::int64_t first, second, pooling;
};

Wanted wanted_of(const Ints& what) {
  if (what.size() != 12)
    throw std::invalid_argument("what: " + std::to_string(what.size()) + " numbers; expected 12");
  return {{what[0], what[1], what[2], what[3], what[4], what[5], what[6], what[7]},
          what[8] != 0,
          what[9],
          what[10],
          what[11]};
}

Tensor make_answer(const std::array<std::int64_t, 4>& shape, DType dtype) {
  return make_tensor(shape.data(), 4, dtype);
}

}  // namespace

Tensors map_op(Tensor query, Tensor key, std::optional<Tensor> maximum,
               std::optional<Tensor> log_sum, std::optional<Tensor> row_weights, Ints ints,
               Floats floats, Tensors tensors, std::int64_t order, std::int64_t plan,
               std::int64_t kind, Ints what) {
  const Problem problem(query, key, key, axis_order(order));
  const Options options = decode_options(ints, floats, tensors);
  const Wanted wanted = wanted_of(what);
  const MapRegion& region = wanted.region;
  MapInputs inputs{as_const(problem.q), as_const(problem.k), {}, {}};
  if (maximum) inputs.maximum = as_const(row_view(Described(*maximum, "state"), "state"));
  if (log_sum) inputs.log_sum = as_const(row_view(Described(*log_sum, "state"), "state"));
  const TensorView weights =
      row_weights ? as_const(broadcast_view(Described(*row_weights, "row_weights"), "row_weights"))
                  : TensorView{};
  const DType own = problem.q.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const std::int64_t batches = region.batch_end - region.batch_begin,
                     heads = wanted.mean ? 1 : region.head_end - region.head_begin;
  const std::int64_t rows = region.row_end - region.row_begin,
                     keys = region.key_end - region.key_begin;
  const TorchExecutor executor;

  const auto answer = [&](std::int64_t height, std::int64_t width, DType dtype) {
    return make_answer({batches, heads, height, width}, dtype);
  };
  const auto view = [](const Tensor& tensor) {
    return broadcast_view(Described(tensor, "answer"), "answer");
  };
  switch (static_cast<Kind>(kind)) {
    case Kind::kWeights: {
      Tensor out = answer(rows, keys, own);
      raise_if_failed(
          attention_weights(inputs, options, region, view(out), executor, plan_at(plan)));
      return {out};
    }
    case Kind::kPicture: {
      Tensor out = answer(wanted.first, wanted.second, own);
      raise_if_failed(attention_picture(inputs, options, region,
                                        static_cast<Pooling>(wanted.pooling), view(out), executor,
                                        plan_at(plan)));
      return {out};
    }
    case Kind::kEntropy: {
      Tensor out = answer(rows, 1, own);
      raise_if_failed(
          attention_entropy(inputs, options, region, view(out), executor, plan_at(plan)));
      return {out};
    }
    case Kind::kTop: {
      Tensor found = answer(rows, wanted.first, own),
             places = answer(rows, wanted.first, DType::kInt64);
      raise_if_failed(attention_top(inputs, options, region, view(places), view(found), executor,
                                    plan_at(plan)));
      return {found, places};
    }
    case Kind::kColumnSums: {
      Tensor out = answer(row_weights ? weights.shape[2] : 1, keys, own);
      raise_if_failed(attention_column_sums(inputs, options, region, weights, view(out), executor,
                                            plan_at(plan)));
      return {out};
    }
  }
  throw std::invalid_argument("kind: " + std::to_string(kind) + " is not known");
}

}  // namespace regard::torch_ops
