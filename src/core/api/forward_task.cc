// SPDX-License-Identifier: Apache-2.0
#include "core/api/forward_task.h"

#include "core/api/plan_for.h"
#include "core/element.h"
#include "core/schedule/run.h"

namespace regard {

Status prepare_forward(const Inputs& inputs, const Options& options, const Outputs& outputs,
                       const Plan* plan, plan::Layout& own, ModifierMemory& modifiers,
                       AdditiveMemory& additive, kernels::ForwardTask& task) {
  if (Status status = plan_for(options, inputs, plan, own, &task.layout); !status.ok())
    return status;
  return prepare_pass(inputs, options, outputs, modifiers, additive, task);
}

Status prepare_pass(const Inputs& inputs, const Options& options, const Outputs& outputs,
                    ModifierMemory& modifiers, AdditiveMemory& additive,
                    kernels::ForwardTask& task) {
  const Shape& q = inputs.q.shape;
  const DType own_dtype = computed_in(inputs.q.dtype);
  task.inputs = inputs;
  task.outputs = outputs;
  task.scale = scale_of(options, q[3]);
  task.group = inputs.k.shape[1] == 0 ? 1 : q[1] / inputs.k.shape[1];
  task.set = &set_for(options, inputs.q.dtype);
  modifiers.clear();
  if (Status status =
          modifiers.prepare(options, {q[0], q[1], q[2], inputs.k.shape[2]}, own_dtype, task);
      !status.ok())
    return status;
  return additive.prepare(options, inputs.k.shape, *task.set, own_dtype, task.scale, task.additive);
}

double work_of_pair(const kernels::ForwardTask& task) {
  return static_cast<double>(task.inputs.q.shape[3] * (task.additive.v != nullptr ? kTanh : 1) +
                             task.inputs.v.shape[3]);
}

double work_of_pass(const kernels::ForwardTask& task) {
  const Shape& q = task.inputs.q.shape;
  const double pairs = static_cast<double>(q[0] * q[1]) * static_cast<double>(q[2]) *
                       static_cast<double>(task.inputs.k.shape[2]);
  return task.items.empty() ? 0 : pairs * work_of_pair(task);
}

Status run_forward(const kernels::ForwardTask& task, const Executor& executor) {
  return schedule::run_items(
      executor, task.items.size(), work_of_pass(task), task.set->forward_scratch(task),
      [](const void* task, std::size_t item, std::byte* scratch) {
        const auto& forward = *static_cast<const kernels::ForwardTask*>(task);
        forward.set->forward(forward, item, scratch);
      },
      &task, schedule::ItemOrder::kAny, denormals_of(task));
}

}  // namespace regard
