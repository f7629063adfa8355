#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>

#include "core/api/plan_for.h"
#include "core/api/stages.h"
#include "core/kernels/kernels.h"
#include "core/schedule/backward_items.h"
#include "core/schedule/borrow.h"
#include "core/schedule/run.h"
#include "core/schedule/scratch.h"
#include "core/validate.h"

namespace regard {
namespace {

struct BackwardCall {
  plan::Layout layout;
  kernels::BackwardTask task;
  std::vector<MutableTensorView> bias_sums;
};

std::size_t elements(const Shape& shape) { return static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]); }

Status no_memory(const char* what, std::size_t bytes) {
  return {StatusCode::kOutOfMemory, std::string(what) + ": " + std::to_string(bytes) + " bytes could not be allocated"};
}

// Sums that a gradient needs in the kernel's own type: the gradient itself where it has that type, else a copy.
class Sums {
 public:
  Status prepare(const MutableTensorView& gradient, DType own, bool zero, const char* what) {
    if (gradient.dtype == own) {
      view_ = gradient;
    } else {
      const std::size_t bytes = elements(gradient.shape) * size_of(own);
      copy_ = std::make_unique<schedule::Scratch>(bytes);
      if (copy_->data() == nullptr) return no_memory(what, bytes);
      view_ = MutableTensorView::bhsd(copy_->data(), own, gradient.shape[0], gradient.shape[1], gradient.shape[2], gradient.shape[3]);
    }
    if (zero) clear();
    return {};
  }
  const MutableTensorView& view() const { return view_; }
  bool is_copy() const { return copy_ != nullptr; }

 private:
  void clear() const {
    const std::size_t size = size_of(view_.dtype);
    const auto row_bytes = static_cast<std::size_t>(view_.shape[3]) * size;
    for (std::int64_t b = 0; b < view_.shape[0]; ++b) {
      for (std::int64_t h = 0; h < view_.shape[1]; ++h) {
        for (std::int64_t i = 0; i < view_.shape[2]; ++i) {
          const std::int64_t at = b * view_.strides[0] + h * view_.strides[1] + i * view_.strides[2];
          char* row = static_cast<char*>(view_.data) + at * static_cast<std::int64_t>(size);
          if (view_.strides[3] == 1) {
            std::memset(row, 0, row_bytes);
            continue;
          }
          for (std::int64_t c = 0; c < view_.shape[3]; ++c) std::memset(row + c * view_.strides[3] * static_cast<std::int64_t>(size), 0, size);
        }
      }
    }
  }

  MutableTensorView view_;
  std::unique_ptr<schedule::Scratch> copy_;
};

}  // namespace

Status backward(const BackwardInputs& inputs, const Options& options, const Gradients& gradients, const Executor& executor, const Plan* plan) {
  if (Status status = validate_backward(inputs, options, gradients); !status.ok()) return status;
  schedule::Borrow<BackwardCall> call;
  kernels::BackwardTask& task = call->task;
  if (Status status = plan_for(options.mask, {inputs.q, inputs.k, inputs.v}, plan, call->layout, &task.layout); !status.ok()) return status;
  const kernels::KernelSet& set = kernels::set_for(inputs.q.dtype);
  const DType own = inputs.q.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const Shape& q = inputs.q.shape;
  task.inputs = inputs;
  task.gradients = gradients;
  task.scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q[3])));
  task.group = inputs.k.shape[1] == 0 ? 1 : q[1] / inputs.k.shape[1];

  // A bias gradient starts at 0: pairs that no tile holds add nothing.
  std::vector<Sums> bias_sums(gradients.d_bias.size());
  call->bias_sums.assign(gradients.d_bias.size(), {});
  for (std::size_t i = 0; i < bias_sums.size(); ++i) {
    if (!gradients.d_bias[i].given()) continue;
    if (Status status = bias_sums[i].prepare(gradients.d_bias[i], own, true, "d_bias"); !status.ok()) return status;
    call->bias_sums[i] = bias_sums[i].view();
  }
  order_stages(options, {q[0], q[1], q[2], inputs.k.shape[2]}, call->bias_sums, task.stages);

  const std::int64_t tickets = schedule::cut_backward(task);
  Sums dq;
  task.dq_sum = {};
  task.tickets = nullptr;
  const std::size_t ticket_bytes = static_cast<std::size_t>(tickets) * sizeof(std::atomic<std::int32_t>);
  const schedule::Scratch ticket_memory(ticket_bytes);
  if (tickets > 0 && gradients.dq.given()) {
    if (ticket_memory.data() == nullptr) return no_memory("tickets", ticket_bytes);
    task.tickets = new (ticket_memory.data()) std::atomic<std::int32_t>[static_cast<std::size_t>(tickets)]{};
    if (Status status = dq.prepare(gradients.dq, own, false, "dq"); !status.ok()) return status;
    task.dq_sum = dq.view();
  }

  const double work = 2.5 * static_cast<double>(q[0] * q[1]) * static_cast<double>(q[2]) * static_cast<double>(inputs.k.shape[2]) *
                      static_cast<double>(q[3] + inputs.v.shape[3]);
  Status status = schedule::run_items(
      executor, task.items.size(), work, set.backward_scratch(task),
      [](const void* task, std::size_t item, std::byte* scratch) {
        const auto& backward = *static_cast<const kernels::BackwardTask*>(task);
        kernels::set_for(backward.inputs.q.dtype).backward(backward, item, scratch);
      },
      &task);
  for (std::size_t i = 0; i < bias_sums.size() && status.ok(); ++i) {
    if (bias_sums[i].is_copy()) set.copy(as_const(bias_sums[i].view()), gradients.d_bias[i]);
  }
  return status;
}

}  // namespace regard
