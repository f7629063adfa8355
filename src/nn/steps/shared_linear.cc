// SPDX-License-Identifier: Apache-2.0
#include "nn/steps/shared_linear.h"

#include "nn/steps/no_double_backward.h"

namespace regard::nn {
namespace {

using LinearSteps = SharedLinear::Steps;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Between the weight and the steps: autograd comes here when all of them are done.
struct WeightSource : torch::autograd::Function<WeightSource> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& weight,
                               const c10::intrusive_ptr<LinearSteps>& steps) {
    context->saved_data["steps"] = torch::IValue::make_capsule(steps);
    context->set_materialize_grads(false);
    return weight;
  }
  static variable_list backward(AutogradContext* context, const variable_list&) {
    const auto steps =
        c10::static_intrusive_pointer_cast<LinearSteps>(context->saved_data["steps"].toCapsule());
    torch::Tensor d_weight;
    if (!steps->inputs.empty())
      d_weight = torch::cat(steps->gradients).t().mm(torch::cat(steps->inputs));
    steps->inputs.clear();
    steps->gradients.clear();
    return {d_weight, {}};
  }
};

struct LinearStep : torch::autograd::Function<LinearStep> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight, const torch::Tensor& transposed,
                               const std::optional<torch::Tensor>& addend,
                               const c10::intrusive_ptr<LinearSteps>& steps) {
    context->save_for_backward({x, weight});
    context->saved_data["steps"] = torch::IValue::make_capsule(steps);
    context->saved_data["addend_rank"] = addend ? addend->dim() : 0;
    return addend ? torch::addmm(*addend, x, transposed) : torch::mm(x, transposed);
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    refuse_double_backward();
    const auto steps =
        c10::static_intrusive_pointer_cast<LinearSteps>(context->saved_data["steps"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const std::int64_t addend_rank = context->saved_data["addend_rank"].toInt();
    const torch::Tensor& d_out = arrived[0];
    torch::Tensor d_x, d_addend;
    if (context->needs_input_grad(0)) d_x = d_out.mm(saved[1]);
    if (context->needs_input_grad(1)) {
      steps->inputs.push_back(saved[0].detach());  // its history leads back here
      steps->gradients.push_back(d_out);
    }
    if (addend_rank > 0 && context->needs_input_grad(3))
      d_addend = addend_rank == 1 ? d_out.sum(0) : d_out;
    return {d_x, {}, {}, d_addend, {}};
  }
};

}  // namespace

SharedLinear::SharedLinear(const torch::Tensor& weight)
    : weight_(weight),
      transposed_(weight.detach().t().contiguous()),
      steps_(c10::make_intrusive<LinearSteps>()) {
  if (weight.requires_grad() && torch::GradMode::is_enabled())
    weight_ = WeightSource::apply(weight, steps_);
}

torch::Tensor SharedLinear::operator()(const torch::Tensor& addend, const torch::Tensor& x) const {
  const auto given = addend.defined() ? std::optional(addend) : std::nullopt;
  return LinearStep::apply(x, weight_, transposed_, given, steps_);
}

}  // namespace regard::nn
