#include "core/api/additive.h"
#include "core/api/modifiers.h"
#include "core/api/plan_for.h"
#include "core/kernels/kernels.h"
#include "core/schedule/borrow.h"
#include "core/schedule/forward_items.h"
#include "core/schedule/run.h"
#include "core/validate.h"

namespace regard {
namespace {

struct ForwardCall {
  plan::Layout layout;
  kernels::ForwardTask task;
  ModifierMemory modifiers;
};

}  // namespace

Status forward(const Inputs& inputs, const Options& options, const Outputs& outputs, const Executor& executor, const Plan* plan) {
  if (Status status = validate_forward(inputs, options, outputs); !status.ok()) return status;
  schedule::Borrow<ForwardCall> call;
  kernels::ForwardTask& task = call->task;
  if (Status status = plan_for(options.mask, inputs, plan, call->layout, &task.layout); !status.ok()) return status;
  const Shape& q = inputs.q.shape;
  task.inputs = inputs;
  task.outputs = outputs;
  task.scale = scale_of(options, q[3]);
  task.group = inputs.k.shape[1] == 0 ? 1 : q[1] / inputs.k.shape[1];
  const DType own = inputs.q.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  call->modifiers.clear();
  if (Status status = call->modifiers.prepare(options, {q[0], q[1], q[2], inputs.k.shape[2]}, own, task); !status.ok()) return status;
  schedule::cut_forward(task);
  const kernels::KernelSet& set = set_for(options, inputs.q.dtype);
  AdditiveMemory additive;
  if (Status status = additive.prepare(options, set, own, task.scale, task.additive); !status.ok()) return status;
  task.set = &set;
  const double work = 1.0 * static_cast<double>(q[0] * q[1]) * static_cast<double>(q[2]) * static_cast<double>(inputs.k.shape[2]) *
                      static_cast<double>(q[3] * (options.score ? kTanh : 1) + inputs.v.shape[3]);
  Status status = schedule::run_items(
      executor, task.items.size(), work, set.forward_scratch(task),
      [](const void* task, std::size_t item, std::byte* scratch) {
        const auto& forward = *static_cast<const kernels::ForwardTask*>(task);
        forward.set->forward(forward, item, scratch);
      },
      &task);
  call->modifiers.clear();
  return status;
}

}  // namespace regard
