// SPDX-License-Identifier: Apache-2.0
// Layers that are computed again in the backward pass (Chen et al. 2016, arXiv 1604.06174).
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>

#include <stdexcept>

#include "regard/nn/model.h"

namespace regard::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A layer, and what else its result depends on: the random numbers of dropout, and autocast.
struct LayerCall : torch::CustomClassHolder {
  std::function<torch::Tensor(const torch::Tensor&)> run;
  torch::Tensor generator;
  bool autocast = false;
  at::ScalarType dtype = at::kFloat;
};

// Autocast keeps a parameter's copy of another dtype and takes it again. One that was made without
// gradients would give the parameter none, so no copy may outlive a call.
class NoCastCache {
 public:
  NoCastCache() : enabled_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~NoCastCache() { at::autocast::set_autocast_cache_enabled(enabled_); }
  NoCastCache(const NoCastCache&) = delete;
  NoCastCache& operator=(const NoCastCache&) = delete;

 private:
  bool enabled_;
};

// The random numbers and autocast of a call, for as long as this lives.
class SameAsBefore {
 public:
  explicit SameAsBefore(const LayerCall& call)
      : generator_(at::detail::getDefaultCPUGenerator()),
        state_(generator_.get_state()),
        autocast_(at::autocast::is_autocast_enabled(at::kCPU)),
        dtype_(at::autocast::get_autocast_dtype(at::kCPU)) {
    generator_.set_state(call.generator);
    at::autocast::set_autocast_enabled(at::kCPU, call.autocast);
    at::autocast::set_autocast_dtype(at::kCPU, call.dtype);
  }
  ~SameAsBefore() {
    generator_.set_state(state_);
    at::autocast::set_autocast_enabled(at::kCPU, autocast_);
    at::autocast::set_autocast_dtype(at::kCPU, dtype_);
  }
  SameAsBefore(const SameAsBefore&) = delete;
  SameAsBefore& operator=(const SameAsBefore&) = delete;

 private:
  at::Generator generator_;
  torch::Tensor state_;
  bool autocast_;
  at::ScalarType dtype_;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x,
                               at::TensorList parameters,
                               const c10::intrusive_ptr<LayerCall>& call) {
    variable_list saved{x};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    context->save_for_backward(std::move(saved));
    context->saved_data["call"] = torch::IValue::make_capsule(call);
    call->generator = at::detail::getDefaultCPUGenerator().get_state();
    call->autocast = at::autocast::is_autocast_enabled(at::kCPU);
    call->dtype = at::autocast::get_autocast_dtype(at::kCPU);
    const NoCastCache no_cache;
    return call->run(x);
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    if (torch::GradMode::is_enabled())
      throw std::runtime_error(
          "recompute_layers: double backward (a gradient of its gradient) is not supported");
    variable_list inputs = context->get_saved_variables();
    const auto call =
        c10::static_intrusive_pointer_cast<LayerCall>(context->saved_data["call"].toCapsule());
    inputs[0] = inputs[0].detach().requires_grad_(context->needs_input_grad(0));
    variable_list wanted;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (context->needs_input_grad(i)) wanted.push_back(inputs[i]);
    torch::Tensor y;
    {
      const torch::AutoGradMode gradients(true);
      const SameAsBefore same(*call);
      const NoCastCache no_cache;
      y = call->run(inputs[0]);
    }
    variable_list found = torch::autograd::grad({y}, wanted, {arrived[0]}, {}, false, true);
    variable_list result(inputs.size() + 1);  // the call has none
    auto next = found.begin();
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (context->needs_input_grad(i)) result[i] = *next++;
    return result;
  }
};

}  // namespace

void Model::recompute_layers(bool on) {
  if (on && !can_recompute_layers())
    throw std::logic_error(kind() + ": a model of this kind cannot compute its layers again");
  recomputes_layers_ = on;
}

torch::Tensor Model::run_layer(const torch::nn::Module& layer, const torch::Tensor& x,
                               std::function<torch::Tensor(const torch::Tensor&)> run) const {
  if (!recomputes_layers_ || !torch::GradMode::is_enabled()) return run(x);
  const std::vector<torch::Tensor> parameters = layer.parameters();
  auto call = c10::make_intrusive<LayerCall>();
  call->run = std::move(run);
  return Recompute::apply(x, at::TensorList(parameters), call);
}

}  // namespace regard::nn
