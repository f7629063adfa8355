// SPDX-License-Identifier: Apache-2.0
#include "nn/steps/memory_steps.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <map>
#include <string>

#include "nn/attention/engine.h"
#include "nn/steps/no_double_backward.h"
#include "nn/steps/shared_linear.h"

namespace regard::nn {

using engine::Call;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What the steps leave behind.
class MemorySteps {
 public:
  struct Step {
    torch::Tensor query, d_out, out, statistics;
    std::vector<torch::Tensor> tensors;  // of the options
  };

  // Kept without their history, which leads back to what keeps them.
  void add(Step step, c10::intrusive_ptr<Call> call) {
    step.query = step.query.detach();
    step.out = step.out.detach();
    for (torch::Tensor& tensor : step.tensors) tensor = tensor.detach();
    steps_.push_back(std::move(step));
    call_ = std::move(call);
  }

  // The linear layer of that name, whose steps are gathered in the same way.
  const SharedLinear& linear(const char* name, const torch::Tensor& weight) {
    const auto found = linears_.find(name);
    if (found != linears_.end()) return found->second;
    return linears_.emplace(name, SharedLinear(weight)).first->second;
  }

  // The gradients of keys, values and, where it is defined, v, from all steps since the last time.
  std::vector<torch::Tensor> gradients(const torch::Tensor& keys, const torch::Tensor& values,
                                       const torch::Tensor& v) {
    const std::size_t outputs = v.defined() ? 3 : 2;
    if (steps_.empty()) return std::vector<torch::Tensor>(outputs);
    const engine::Pass pass{joined(&Step::query, -2), keys.unsqueeze(1), values.unsqueeze(1),
                            joined(&Step::out, -2), joined(&Step::statistics, -1)};
    const torch::Tensor d_out = joined(&Step::d_out, -2);
    std::vector<torch::Tensor> tensors;
    std::int64_t wanted = 2 + 4;
    for (std::size_t n = 0; n < steps_[0].tensors.size(); ++n) {
      if (v.defined() && steps_[0].tensors[n].is_alias_of(v)) wanted |= std::int64_t{8} << n;
      tensors.push_back(joined_tensor(n));
    }
    variable_list found = engine::backward(d_out, {}, pass, *call_, tensors, wanted);
    found[0] = found[0].squeeze(1);
    found[1] = found[1].squeeze(1);
    if (v.defined()) found.at(2) = found.at(2).reshape_as(v);
    steps_.clear();
    return found;
  }

 private:
  torch::Tensor joined(torch::Tensor Step::*part, std::int64_t axis) const {
    std::vector<torch::Tensor> parts;
    for (const Step& step : steps_) parts.push_back(step.*part);
    return torch::cat(parts, axis);
  }
  // A tensor of the options: the same for all steps, or one with a row for each query.
  torch::Tensor joined_tensor(std::size_t n) const {
    const torch::Tensor& first = steps_[0].tensors[n];
    const bool shared = std::all_of(steps_.begin(), steps_.end(), [&](const Step& step) {
      return step.tensors[n].is_alias_of(first);
    });
    if (shared) return first;
    std::vector<torch::Tensor> parts;
    for (const Step& step : steps_) parts.push_back(step.tensors[n]);
    return torch::cat(parts, 2);
  }

  std::vector<Step> steps_;
  c10::intrusive_ptr<Call> call_;
  std::map<std::string, SharedLinear> linears_;
};

namespace {

using SharedSteps = std::shared_ptr<MemorySteps>;

struct StepsHolder : torch::CustomClassHolder {
  explicit StepsHolder(SharedSteps held) : steps(std::move(held)) {}
  SharedSteps steps;
};

torch::IValue capsule(const SharedSteps& steps) {
  return torch::IValue::make_capsule(c10::make_intrusive<StepsHolder>(steps));
}
SharedSteps from_capsule(const torch::IValue& value) {
  return c10::static_intrusive_pointer_cast<StepsHolder>(value.toCapsule())->steps;
}

torch::Tensor sum_of(const torch::Tensor& a, const torch::Tensor& b) {
  return !a.defined() ? b : b.defined() ? a + b : a;
}

// Between the memory and the steps: autograd comes here when all of them are done.
struct MemorySource : torch::autograd::Function<MemorySource> {
  static variable_list forward(AutogradContext* context, at::TensorList parts,
                               const SharedSteps& steps) {
    context->save_for_backward(parts.vec());
    context->saved_data["steps"] = capsule(steps);
    context->set_materialize_grads(false);
    return parts.vec();
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list parts = context->get_saved_variables();
    variable_list result =
        from_capsule(context->saved_data["steps"])
            ->gradients(parts[0], parts[1], parts.size() > 2 ? parts[2] : torch::Tensor());
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = sum_of(result[i], arrived[i]);
    result.emplace_back();
    return result;
  }
};

struct MemoryStep : torch::autograd::Function<MemoryStep> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& query,
                               at::TensorList memory, at::TensorList tensors,
                               const c10::intrusive_ptr<Call>& call, const SharedSteps& steps) {
    const torch::Tensor keys = memory[0].unsqueeze(1), values = memory[1].unsqueeze(1);
    auto [out, statistics] = engine::forward(query, keys, values, *call, tensors.vec(), false);
    variable_list saved{query, keys, values, out, statistics};
    saved.insert(saved.end(), tensors.begin(), tensors.end());
    context->save_for_backward(std::move(saved));
    context->saved_data["memory"] = static_cast<std::int64_t>(memory.size());
    context->saved_data["call"] = torch::IValue::make_capsule(call);
    context->saved_data["steps"] = capsule(steps);
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    refuse_double_backward();
    const variable_list saved = context->get_saved_variables();
    const engine::Pass pass{saved[0], saved[1], saved[2], saved[3], saved[4]};
    std::vector<torch::Tensor> tensors(saved.begin() + 5, saved.end());
    const auto call =
        c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    const auto memory = static_cast<std::size_t>(context->saved_data["memory"].toInt());
    std::int64_t wanted = 1;
    for (std::size_t n = 0; n < tensors.size(); ++n)
      if (context->needs_input_grad(1 + memory + n)) wanted |= std::int64_t{8} << n;
    const variable_list found = engine::backward(arrived[0], {}, pass, *call, tensors, wanted);
    from_capsule(context->saved_data["steps"])
        ->add({pass.query, arrived[0], pass.out, pass.statistics, tensors}, call);
    variable_list result(1 + memory + tensors.size() + 2);
    result[0] = found[0];
    std::size_t next = 1;
    for (std::size_t n = 0; n < tensors.size(); ++n)
      if ((wanted >> (3 + n) & 1) != 0) result[1 + memory + n] = found[next++];
    return result;
  }
};

}  // namespace

AttentionMemory with_steps(AttentionMemory memory) {
  const bool needs = memory.keys.requires_grad() || memory.values.requires_grad() ||
                     (memory.v.defined() && memory.v.requires_grad());
  if (!torch::GradMode::is_enabled() || !needs) return memory;
  memory.steps = std::make_shared<MemorySteps>();
  variable_list parts{memory.keys, memory.values};
  if (memory.v.defined()) parts.push_back(memory.v);
  parts = MemorySource::apply(at::TensorList(parts), memory.steps);
  memory.keys = parts[0];
  memory.values = parts[1];
  if (memory.v.defined()) memory.v = parts[2];
  return memory;
}

namespace {

// Whether a query, one of a memory's, takes its turn among steps. Under autocast the parts come in
// several dtypes, and the usual way sees to that.
bool gathers(const torch::Tensor& query, std::int64_t count, const AttentionMemory& memory) {
  return memory.steps != nullptr && count == 1 && torch::GradMode::is_enabled() &&
         !at::autocast::is_autocast_enabled(at::kCPU) &&
         query.scalar_type() == memory.keys.scalar_type() &&
         query.scalar_type() == memory.values.scalar_type();
}

}  // namespace

torch::Tensor step_linear(const char* name, const torch::Tensor& x, const torch::Tensor& weight,
                          const AttentionMemory& memory) {
  if (!gathers(x, x.size(1), memory)) return torch::matmul(x, weight.t());
  return memory.steps->linear(name, weight)({}, x.squeeze(1)).unsqueeze(1);
}

torch::Tensor attend(const torch::Tensor& query, const AttentionMemory& memory,
                     const AttentionOptions& options) {
  if (!gathers(query, query.size(2), memory))
    return attention(query, memory.keys.unsqueeze(1), memory.values.unsqueeze(1), options);
  AttentionOptions detached = options;  // v's gradient is made with that of the keys
  variable_list parts{memory.keys, memory.values};
  if (memory.v.defined()) {
    parts.push_back(memory.v);
    detached.additive_v = memory.v.detach();
  }
  const engine::Encoded encoded = engine::encode(detached);
  return MemoryStep::apply(query, at::TensorList(parts), at::TensorList(encoded.tensors),
                           encoded.call, memory.steps);
}

}  // namespace regard::nn
