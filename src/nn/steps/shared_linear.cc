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
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& addend,
                               const torch::Tensor& x, const torch::Tensor& weight,
                               const c10::intrusive_ptr<LinearSteps>& steps) {
    context->save_for_backward({x, weight});
    context->saved_data["steps"] = torch::IValue::make_capsule(steps);
    context->saved_data["vector"] = addend.defined() && addend.dim() == 1;
    return addend.defined() ? torch::addmm(addend, x, weight.t()) : torch::mm(x, weight.t());
  }
  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    refuse_double_backward();
    const auto steps =
        c10::static_intrusive_pointer_cast<LinearSteps>(context->saved_data["steps"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor& d_out = arrived[0];
    if (context->needs_input_grad(2)) {
      steps->inputs.push_back(saved[0]);
      steps->gradients.push_back(d_out);
    }
    torch::Tensor d_addend, d_x;
    if (context->needs_input_grad(0))
      d_addend = context->saved_data["vector"].toBool() ? d_out.sum(0) : d_out;
    if (context->needs_input_grad(1)) d_x = d_out.mm(saved[1]);
    return {d_addend, d_x, {}, {}};
  }
};

}  // namespace

SharedLinear::SharedLinear(const torch::Tensor& weight)
    : weight_(weight), steps_(c10::make_intrusive<LinearSteps>()) {
  if (weight.requires_grad() && torch::GradMode::is_enabled())
    weight_ = WeightSource::apply(weight, steps_);
}

torch::Tensor SharedLinear::operator()(const torch::Tensor& addend, const torch::Tensor& x) const {
  return LinearStep::apply(addend, x, weight_, steps_);
}

}  // namespace regard::nn
