// SPDX-License-Identifier: Apache-2.0
#include "core/validate/map.h"

#include <string>

#include "core/check_view.h"
#include "core/element.h"
#include "core/return_if_error.h"
#include "core/validate/apart.h"
#include "core/validate/validate.h"

namespace regard {
namespace {

using Kind = kernels::MapTask::Kind;

Status invalid(const std::string& name, const std::string& what) {
  return Status::invalid(name + ": " + what);
}

Status check_range(const char* axis, std::int64_t begin, std::int64_t end, std::int64_t size) {
  if (begin >= 0 && begin <= (end == -1 ? size : end) && end <= size) return {};
  return invalid("region", std::string(axis) + " [" + std::to_string(begin) + ", " +
                               std::to_string(end) + "); expected a range within [0, " +
                               std::to_string(size) + ")");
}

const char* name_of_answer(Kind kind) {
  switch (kind) {
    case Kind::kPicture: return "picture";
    case Kind::kEntropy: return "entropy";
    case Kind::kColumnSums: return "sums";
    case Kind::kTiles:
    case Kind::kTop: break;
  }
  return "weights";
}

Status check_answer(const char* name, const MutableTensorView& view, const Shape& expected,
                    DType dtype, const char* as) {
  REGARD_RETURN_IF_ERROR(check_output(name, view));
  Shape with_mean = expected;
  with_mean[1] = 1;
  if (view.shape != expected && view.shape != with_mean) {
    return invalid(name, "shape " + text(view.shape) + "; expected " + text(expected) + ", " + as +
                             (expected[1] == 1 ? "" : ", or with 1 head for the mean over heads"));
  }
  if (view.dtype == dtype) return {};
  return invalid(name,
                 std::string("dtype ") + name_of(view.dtype) + "; expected " + name_of(dtype));
}

Status check_row_weights(const TensorView& weights, const Shape& expected, DType own) {
  REGARD_RETURN_IF_ERROR(check_view("row_weights", weights));
  const Shape shared{expected[0], 1, expected[2], expected[3]};
  if (weights.shape != expected && weights.shape != shared) {
    return invalid("row_weights",
                   "shape " + text(weights.shape) + "; expected " + text(expected) +
                       ", (batches, heads, vectors, rows) of the region, or 1 for the heads");
  }
  if (weights.dtype == own) return {};
  return invalid("row_weights",
                 std::string("dtype ") + name_of(weights.dtype) + "; expected " + name_of(own));
}

}  // namespace

MapRegion resolved(MapRegion region, const MapInputs& inputs) {
  const Shape& q = inputs.q.shape;
  const auto resolve = [](std::int64_t& end, std::int64_t size) { end = end == -1 ? size : end; };
  resolve(region.batch_end, q[0]);
  resolve(region.head_end, q[1]);
  resolve(region.row_end, q[2]);
  resolve(region.key_end, inputs.k.shape[2]);
  return region;
}

Status validate_map(const kernels::MapTask& task, const MapInputs& inputs, const Options& options) {
  const Shape& q = inputs.q.shape;
  const std::int64_t len_k = inputs.k.shape[2];
  const MapRegion& asked = task.region;
  REGARD_RETURN_IF_ERROR(check_range("batch", asked.batch_begin, asked.batch_end, q[0]));
  REGARD_RETURN_IF_ERROR(check_range("heads", asked.head_begin, asked.head_end, q[1]));
  REGARD_RETURN_IF_ERROR(check_range("rows", asked.row_begin, asked.row_end, q[2]));
  REGARD_RETURN_IF_ERROR(check_range("keys", asked.key_begin, asked.key_end, len_k));
  const MapRegion region = resolved(asked, inputs);
  const std::int64_t batches = region.batch_end - region.batch_begin,
                     heads = region.head_end - region.head_begin;
  const std::int64_t rows = region.row_end - region.row_begin,
                     keys = region.key_end - region.key_begin;
  const DType own = computed_in(inputs.q.dtype);
  const char* name = name_of_answer(task.kind);
  const Shape& out = task.out.shape;
  Shape expected{batches, heads, rows, keys};
  const char* as = "(batches, heads, rows, keys) of the region";
  switch (task.kind) {
    case Kind::kTiles: break;
    case Kind::kPicture:
      if (rows > 0 && (out[2] < 1 || out[2] > rows)) {
        return invalid(name, "shape " + text(out) + " has height " + std::to_string(out[2]) +
                                 "; expected 1 to " + std::to_string(rows) + ", the region's rows");
      }
      if (keys > 0 && (out[3] < 1 || out[3] > keys)) {
        return invalid(name, "shape " + text(out) + " has width " + std::to_string(out[3]) +
                                 "; expected 1 to " + std::to_string(keys) + ", the region's keys");
      }
      if (rows == 0 || keys == 0) return invalid("region", "holds no pairs: a picture needs some");
      expected = {batches, heads, out[2], out[3]};
      as = "(batches, heads) of the region, height and width";
      break;
    case Kind::kTop:
      if (out[3] < 1 || out[3] > len_k) {
        return invalid("keys", "shape " + text(out) + " asks for " + std::to_string(out[3]) +
                                   " keys; expected 1 to " + std::to_string(len_k));
      }
      expected[3] = out[3];
      as = "(batches, heads, rows) of the region and how many keys";
      break;
    case Kind::kEntropy:
      expected[3] = 1;
      as = "(batches, heads, rows) of the region and 1";
      break;
    case Kind::kColumnSums:
      if (task.row_weights.given())
        REGARD_RETURN_IF_ERROR(check_row_weights(
            task.row_weights, {batches, heads, task.row_weights.shape[2], rows}, own));
      expected[2] = task.vectors();
      as = "(batches, heads) of the region, vectors and keys";
      break;
  }
  if ((task.kind == Kind::kTop || task.kind == Kind::kEntropy) && keys != len_k) {
    return invalid("region", "keys [" + std::to_string(region.key_begin) + ", " +
                                 std::to_string(region.key_end) + "); expected all " +
                                 std::to_string(len_k));
  }
  REGARD_RETURN_IF_ERROR(check_answer(name, task.out, expected, own, as));
  if (task.kind == Kind::kTop) {
    REGARD_RETURN_IF_ERROR(check_output("keys", task.keys));
    if (task.keys.shape != out)
      return invalid("keys",
                     "shape " + text(task.keys.shape) + "; expected " + text(out) + ", as weights");
    if (task.keys.dtype != DType::kInt64)
      return invalid("keys", std::string("dtype ") + name_of(task.keys.dtype) + "; expected int64");
  }
  return check_map_apart(inputs, options, name, task.out, task.keys, task.row_weights);
}

Status validate_rollout(std::span<const RolloutLayer> layers, double residual,
                        const MutableTensorView& rows) {
  if (!(residual >= 0 && residual <= 1))
    return invalid("residual", text(residual) + "; expected a share between 0 and 1");
  REGARD_RETURN_IF_ERROR(check_output("rows", rows));
  if (rows.dtype != DType::kFloat32 && rows.dtype != DType::kFloat64) {
    return invalid("rows",
                   std::string("dtype ") + name_of(rows.dtype) + "; expected float32 or float64");
  }
  if (rows.shape[1] != 1)
    return invalid("rows", "shape " + text(rows.shape) + "; expected (batch, 1, vectors, n)");
  for (std::size_t n = 0; n < layers.size(); ++n) {
    const TensorView &q = layers[n].inputs.q, &k = layers[n].inputs.k;
    std::string name = "layers[";
    name += std::to_string(n) + "]";
    if (q.shape[0] != rows.shape[0] || q.shape[2] != rows.shape[3] || k.shape[2] != rows.shape[3]) {
      return invalid(name, "query " + text(q.shape) + " and key " + text(k.shape) +
                               "; expected batch " + std::to_string(rows.shape[0]) +
                               " and length " + std::to_string(rows.shape[3]) +
                               " of both, as rows " + text(rows.shape));
    }
    if ((q.dtype == DType::kFloat64) != (rows.dtype == DType::kFloat64)) {
      return invalid("rows", std::string("dtype ") + name_of(rows.dtype) + "; expected " +
                                 (q.dtype == DType::kFloat64 ? "float64" : "float32") + " for " +
                                 name_of(q.dtype) + " queries");
    }
    const auto& [inputs, options, plan] = layers[n];
    Status status = validate_scores(q, k, options, inputs.maximum, inputs.log_sum);
    if (status.ok()) status = check_map_apart(inputs, options, "rows", rows, {}, {});
    if (!status.ok()) return {status.code(), name + ": " + status.message()};
  }
  return {};
}

}  // namespace regard
