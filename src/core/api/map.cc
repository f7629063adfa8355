// SPDX-License-Identifier: Apache-2.0
#include "regard/map.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/api/forward_task.h"
#include "core/api/plan_for.h"
#include "core/api/views.h"
#include "core/kernels/map/map_task.h"
#include "core/schedule/borrow.h"
#include "core/schedule/map_items.h"
#include "core/schedule/run.h"
#include "core/schedule/scratch.h"
#include "core/validate/map.h"
#include "core/validate/validate.h"

namespace regard {
namespace {

using kernels::MapTask;

struct MapCall {
  plan::Layout layout;
  MapTask task;
  ModifierMemory modifiers;
};

// Statistics of the region's rows, and of those that share a unit with them.
class Statistics {
 public:
  // Points the outputs of task.pass at memory of its own.
  Status allocate(MapTask& task, DType own) {
    const MapRegion& region = task.region;
    const std::int64_t first = std::max<std::int64_t>(0, region.row_begin - plan::kRowUnit + 1);
    const std::int64_t end =
        std::min(task.pass.inputs.q.shape[2], region.row_end + plan::kRowUnit - 1);
    const std::int64_t rows = end - first, heads = region.head_end - region.head_begin,
                       batches = region.batch_end - region.batch_begin;
    const auto size = static_cast<std::int64_t>(size_of(own)), count = batches * heads * rows;
    scratch_.emplace(static_cast<std::size_t>(2 * count * size));
    if (scratch_->data() == nullptr) {
      return no_memory("statistics", static_cast<std::size_t>(2 * count * size));
    }
    // Views of all rows, of which only these are touched.
    const std::int64_t before =
        region.batch_begin * heads * rows + region.head_begin * rows + first;
    const auto view = [&](std::int64_t n) {
      return MutableTensorView{
          reinterpret_cast<char*>(scratch_->data()) + (n * count - before) * size,
          own,
          task.pass.outputs.maximum.shape,
          {heads * rows, rows, 1, 1}};
    };
    task.pass.outputs.maximum = view(0);
    task.pass.outputs.log_sum = view(1);
    return {};
  }

 private:
  std::optional<schedule::ScratchMemory> scratch_;
};

MutableTensorView writable(const TensorView& view) {
  return {const_cast<void*>(view.data), view.dtype, view.shape, view.strides};
}

// The rows outside of which all row weights are 0.
template <typename T>
void narrow_rows(const TensorView& weights, MapRegion& region) {
  const T* data = static_cast<const T*>(weights.data);
  const Strides& s = weights.strides;
  const auto some = [&](std::int64_t i) {
    for (std::int64_t b = 0; b < weights.shape[0]; ++b)
      for (std::int64_t h = 0; h < weights.shape[1]; ++h)
        for (std::int64_t v = 0; v < weights.shape[2]; ++v)
          if (data[b * s[0] + h * s[1] + v * s[2] + i * s[3]] != T{0}) return true;
    return false;
  };
  std::int64_t first = 0, end = weights.shape[3];
  while (first < end && !some(first)) ++first;
  while (end > first && !some(end - 1)) --end;
  region.row_end = region.row_begin + end;
  region.row_begin += first;
}

bool holds_nothing(const MapTask& task) {
  const MapRegion& r = task.region;
  return task.out.empty() || r.batch_begin == r.batch_end || r.head_begin == r.head_end;
}

// Rows without weight are left out.
void leave_out_rows(MapTask& task) {
  const std::int64_t before = task.region.row_begin;
  TensorView& weights = task.row_weights;
  weights.dtype == DType::kFloat64 ? narrow_rows<double>(weights, task.region)
                                   : narrow_rows<float>(weights, task.region);
  weights.shape[3] = task.region.row_end - task.region.row_begin;
  weights.data = static_cast<const char*>(weights.data) +
                 (task.region.row_begin - before) * weights.strides[3] *
                     static_cast<std::int64_t>(size_of(weights.dtype));
}

// The task's kind, region and views are those that the caller asks for.
Status run_map(MapCall& call, const MapInputs& inputs, const Options& options,
               const Executor& executor, const Plan* plan) {
  MapTask& task = call.task;
  if (Status status = validate_scores(inputs.q, inputs.k, options, inputs.maximum, inputs.log_sum);
      !status.ok())
    return status;
  if (Status status = validate_map(task, inputs, options); !status.ok()) return status;
  task.region = resolved(task.region, inputs);
  task.mean = task.out.shape[1] == 1 && task.region.head_end - task.region.head_begin > 1;
  if (holds_nothing(task)) return {};
  const DType own = task.out.dtype;
  if (task.kind == MapTask::Kind::kColumnSums) {
    fill_with_zeros(task.out);
    if (task.row_weights.given()) leave_out_rows(task);
    if (task.region.row_begin == task.region.row_end) return {};
  }
  // The pass has values of no columns: scores and row sums are all that it computes.
  const Shape& q = inputs.q.shape;
  Inputs pass{inputs.q, inputs.k, inputs.k};
  pass.v.shape[3] = 0;
  Outputs outputs;
  outputs.out = {task.out.data, own, {q[0], q[1], q[2], 0}, {0, 0, 0, 0}};
  outputs.maximum = writable(inputs.maximum);
  outputs.log_sum = writable(inputs.log_sum);
  outputs.maximum.shape = outputs.log_sum.shape = {q[0], q[1], q[2], 1};
  AdditiveMemory additive;
  if (Status status = prepare_forward(pass, options, outputs, plan, call.layout, call.modifiers,
                                      additive, task.pass);
      !status.ok())
    return status;
  // Pictures can be made of rows in any order; means are made of heads that may differ in it.
  // Statistics too, of all rows.
  const plan::Layout& own_order = *task.pass.layout;
  const plan::Layout& order = task.kind == MapTask::Kind::kPicture && !task.mean
                                  ? in_best_order(own_order, options, pass)
                                  : own_order;
  if (task.region.row_begin == 0 && task.region.row_end == q[2]) task.pass.layout = &order;
  Statistics statistics;
  if (!inputs.maximum.given()) {
    if (Status status = statistics.allocate(task, own); !status.ok()) return status;
    schedule::cut_statistics(task);
    if (Status status = run_forward(task.pass, executor); !status.ok()) return status;
  }
  task.pass.layout = &order;
  schedule::cut_map(task);
  const MapRegion& region = task.region;
  const double pairs = static_cast<double>((region.batch_end - region.batch_begin) *
                                           (region.head_end - region.head_begin)) *
                       static_cast<double>(region.row_end - region.row_begin) *
                       static_cast<double>(region.key_end - region.key_begin);
  return schedule::run_items(
      executor, task.items.size(), pairs * work_of_pair(task.pass),
      task.pass.set->map_scratch(task),
      [](const void* task, std::size_t item, std::byte* scratch) {
        const auto& map = *static_cast<const MapTask*>(task);
        map.pass.set->map(map, item, scratch);
      },
      &task);
}

struct Answer {
  MutableTensorView out;
  MutableTensorView keys = {};
  TensorView row_weights = {};
  Pooling pooling = Pooling::kMax;
};

Status map(MapTask::Kind kind, const MapInputs& inputs, const Options& options,
           const MapRegion& region, const Answer& answer, const Executor& executor,
           const Plan* plan) {
  schedule::Borrow<MapCall> call;
  MapTask& task = call->task;
  task.kind = kind;
  task.region = region;
  task.pooling = answer.pooling;
  task.out = answer.out;
  task.keys = answer.keys;
  task.row_weights = answer.row_weights;
  Status status = run_map(*call, inputs, options, executor, plan);
  call->modifiers.clear();
  return status;
}

// rows <- residual * rows + (1 - residual) * passed.
template <typename T>
void join(double residual, const T* passed, const MutableTensorView& rows) {
  T* data = static_cast<T*>(rows.data);
  const Strides& s = rows.strides;
  for (std::int64_t b = 0; b < rows.shape[0]; ++b)
    for (std::int64_t v = 0; v < rows.shape[2]; ++v)
      for (std::int64_t i = 0; i < rows.shape[3]; ++i) {
        T& x = data[b * s[0] + v * s[2] + i * s[3]];
        x = static_cast<T>(residual * static_cast<double>(x) +
                           (1 - residual) * static_cast<double>(*passed++));
      }
}

}  // namespace

Status attention_weights(const MapInputs& inputs, const Options& options, const MapRegion& region,
                         const MutableTensorView& weights, const Executor& executor,
                         const Plan* plan) {
  return map(MapTask::Kind::kTiles, inputs, options, region, {weights}, executor, plan);
}

Status attention_picture(const MapInputs& inputs, const Options& options, const MapRegion& region,
                         Pooling pooling, const MutableTensorView& picture,
                         const Executor& executor, const Plan* plan) {
  return map(MapTask::Kind::kPicture, inputs, options, region, {picture, {}, {}, pooling}, executor,
             plan);
}

Status attention_top(const MapInputs& inputs, const Options& options, const MapRegion& region,
                     const MutableTensorView& keys, const MutableTensorView& weights,
                     const Executor& executor, const Plan* plan) {
  return map(MapTask::Kind::kTop, inputs, options, region, {weights, keys}, executor, plan);
}

Status attention_entropy(const MapInputs& inputs, const Options& options, const MapRegion& region,
                         const MutableTensorView& entropy, const Executor& executor,
                         const Plan* plan) {
  return map(MapTask::Kind::kEntropy, inputs, options, region, {entropy}, executor, plan);
}

Status attention_column_sums(const MapInputs& inputs, const Options& options,
                             const MapRegion& region, const TensorView& row_weights,
                             const MutableTensorView& sums, const Executor& executor,
                             const Plan* plan) {
  return map(MapTask::Kind::kColumnSums, inputs, options, region, {sums, {}, row_weights}, executor,
             plan);
}

Status attention_rollout(std::span<const RolloutLayer> layers, double residual,
                         const MutableTensorView& rows, const Executor& executor) {
  if (Status status = validate_rollout(layers, residual, rows); !status.ok()) return status;
  const Shape& shape = rows.shape;
  const auto elements = static_cast<std::size_t>(shape[0] * shape[2] * shape[3]);
  if (elements == 0) return {};
  const schedule::ScratchMemory passed(elements * size_of(rows.dtype));
  if (passed.data() == nullptr) return no_memory("rows", elements * size_of(rows.dtype));
  const MutableTensorView next =
      MutableTensorView::bhsd(passed.data(), rows.dtype, shape[0], 1, shape[2], shape[3]);
  for (std::size_t n = layers.size(); n-- > 0;) {
    const RolloutLayer& layer = layers[n];
    Status status = attention_column_sums(layer.inputs, layer.options, {}, as_const(rows), next,
                                          executor, layer.plan);
    if (!status.ok())
      return {status.code(), "layers[" + std::to_string(n) + "]: " + status.message()};
    rows.dtype == DType::kFloat64
        ? join(residual, reinterpret_cast<const double*>(passed.data()), rows)
        : join(residual, reinterpret_cast<const float*>(passed.data()), rows);
  }
  return {};
}

}  // namespace regard
