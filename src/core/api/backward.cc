// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <optional>
#include <string>

#include "core/api/additive.h"
#include "core/api/modifiers.h"
#include "core/api/plan_for.h"
#include "core/api/views.h"
#include "core/element.h"
#include "core/kernels/kernels.h"
#include "core/schedule/backward_items.h"
#include "core/schedule/borrow.h"
#include "core/schedule/run.h"
#include "core/schedule/scratch.h"
#include "core/validate/validate.h"

namespace regard {
namespace {

struct BackwardCall {
  plan::Layout layout;
  kernels::BackwardTask task;
  ModifierMemory modifiers;
};

// Where dq is summed over key blocks in the kernel's own type: the gradient itself where it has
// that type, else a copy.
MutableTensorView sum_of(const MutableTensorView& gradient, DType own,
                         std::optional<schedule::ScratchMemory>& copy) {
  if (gradient.dtype == own) return gradient;
  const auto& [b, h, i, d] = gradient.shape;
  copy.emplace(static_cast<std::size_t>(b * h * i * d) * size_of(own));
  return MutableTensorView::bhsd(copy->data(), own, b, h, i, d);
}

// What the rows of every (batch, head) add to the gradient of its sinks.
struct SinkCall {
  const kernels::BackwardTask* task;
  const kernels::KernelSet* set;
  double* sums;
};

void run_sinks(const void* call, std::size_t item, std::byte* scratch) {
  const auto& [task, set, sums] = *static_cast<const SinkCall*>(call);
  const auto heads = static_cast<std::size_t>(task->inputs.q.shape[1]);
  set->sink_gradients(*task, static_cast<std::int64_t>(item / heads),
                      static_cast<std::int64_t>(item % heads), scratch,
                      sums + item * static_cast<std::size_t>(task->sinks.shape[3]));
}

}  // namespace

Status backward(const BackwardInputs& inputs, const Options& options, const Gradients& gradients,
                const Executor& executor, const Plan* plan) {
  if (Status status = validate_backward(inputs, options, gradients); !status.ok()) return status;
  schedule::Borrow<BackwardCall> call;
  kernels::BackwardTask& task = call->task;
  const Inputs forward_inputs{inputs.q, inputs.k, inputs.v};
  if (Status status = plan_for(options, forward_inputs, plan, call->layout, &task.layout);
      !status.ok())
    return status;
  task.layout = &in_best_order(*task.layout, options, forward_inputs);
  const kernels::KernelSet& set = set_for(options, inputs.q.dtype);
  task.set = &set;
  const DType own = computed_in(inputs.q.dtype);
  const Shape& q = inputs.q.shape;
  task.inputs = inputs;
  task.gradients = gradients;
  task.scale = scale_of(options, q[3]);
  task.group = inputs.k.shape[1] == 0 ? 1 : q[1] / inputs.k.shape[1];

  AdditiveMemory additive;
  if (Status status =
          additive.prepare(options, inputs.k.shape, set, own, task.scale, task.additive);
      !status.ok())
    return status;
  schedule::count_blocks(task);
  call->modifiers.clear();
  const Shape full{q[0], q[1], q[2], inputs.k.shape[2]};
  if (Status status = call->modifiers.prepare(options, full, own, gradients,
                                              task.blocks * task.sequences * q[1], task);
      !status.ok())
    return status;

  const std::int64_t tickets = schedule::cut_backward(task);
  if (Status status = additive.prepare_gradient(task, own); !status.ok()) return status;
  std::optional<schedule::ScratchMemory> dq_copy;
  task.dq_sum = {};
  task.tickets = nullptr;
  const std::size_t ticket_bytes =
      static_cast<std::size_t>(tickets) * sizeof(std::atomic<std::int32_t>);
  const schedule::ScratchMemory ticket_memory(ticket_bytes);
  if (tickets > 0 && gradients.dq.given()) {
    if (ticket_memory.data() == nullptr) return no_memory("tickets", ticket_bytes);
    task.tickets =
        new (ticket_memory.data()) std::atomic<std::int32_t>[static_cast<std::size_t>(tickets)] {};
    task.dq_sum = sum_of(gradients.dq, own, dq_copy);
    if (task.dq_sum.data == nullptr)
      return no_memory("dq", static_cast<std::size_t>(q[0] * q[1] * q[2] * q[3]) * size_of(own));
  }

  const double work = 2.5 * static_cast<double>(q[0] * q[1]) * static_cast<double>(q[2]) *
                      static_cast<double>(inputs.k.shape[2]) *
                      static_cast<double>(q[3] * (options.score ? kTanh : 1) + inputs.v.shape[3]);
  Status status = schedule::run_items(
      executor, task.items.size(), work, set.backward_scratch(task),
      [](const void* task, std::size_t item, std::byte* scratch) {
        const auto& backward = *static_cast<const kernels::BackwardTask*>(task);
        backward.set->backward(backward, item, scratch);
      },
      &task, task.tickets != nullptr ? schedule::ItemOrder::kMayWait : schedule::ItemOrder::kAny,
      denormals_of(task));
  if (status.ok()) additive.write_gradient(task, set, own, task.scale);
  if (status.ok() && call->modifiers.sink_sums() != nullptr) {
    const SinkCall sinks{&task, &set, call->modifiers.sink_sums()};
    const auto scratch = static_cast<std::size_t>(2 * (inputs.v.shape[3] + 32)) * size_of(own);
    status = schedule::run_items(executor, static_cast<std::size_t>(q[0] * q[1]),
                                 static_cast<double>(q[0] * q[1] * q[2] * inputs.v.shape[3]),
                                 scratch, run_sinks, &sinks);
  }
  if (status.ok()) call->modifiers.write(task, set);
  call->modifiers.clear();
  return status;
}

}  // namespace regard
