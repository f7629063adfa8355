// SPDX-License-Identifier: Apache-2.0
#include "core/api/decode.h"
#include "core/api/forward_task.h"
#include "core/api/plan_for.h"
#include "core/schedule/borrow.h"
#include "core/schedule/forward_items.h"
#include "core/validate/validate.h"

namespace regard {
namespace {

struct ForwardCall {
  plan::Layout layout;
  kernels::ForwardTask task;
  ModifierMemory modifiers;
  DecodeMemory decode;
};

}  // namespace

Status forward(const Inputs& inputs, const Options& options, const Outputs& outputs,
               const Executor& executor, const Plan* plan) {
  if (Status status = validate_forward(inputs, options, outputs); !status.ok()) return status;
  schedule::Borrow<ForwardCall> call;
  AdditiveMemory additive;
  Status status = prepare_forward(inputs, options, outputs, plan, call->layout, call->modifiers,
                                  additive, call->task);
  if (status.ok()) {
    call->task.layout = &in_best_order(*call->task.layout, options, inputs);
    call->task.decode_queries = decode_queries(call->task);
    schedule::cut_forward(call->task);
    if (call->task.decode_queries > 0) {
      status =
          call->decode.prepare(call->task, source_of(inputs.k), source_of(inputs.v), {}, executor);
      if (status.ok()) status = call->decode.run(call->task, work_of_pass(call->task), executor);
      call->decode.clear();
    } else {
      status = run_forward(call->task, executor);
    }
  }
  call->modifiers.clear();
  return status;
}

}  // namespace regard
