// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include <tuple>
#include <type_traits>

namespace regard::train {
namespace {

using torch::optim::Adam;
using torch::optim::AdamOptions;
using torch::optim::AdamParamState;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::AdamWParamState;

template <typename Base, typename Options, typename State>
class Fused final : public Base {
 public:
  using Base::Base;

  torch::Tensor step(torch::optim::Optimizer::LossClosure closure = nullptr) override {
    torch::Tensor loss;
    if (closure) {
      const torch::AutoGradMode gradients(true);
      loss = closure();
    }
    const torch::NoGradGuard no_gradients;
    for (auto& group : this->param_groups()) update(group);
    return loss;
  }

 private:
  State& state_of(const torch::Tensor& parameter) {
    auto& kept = this->state()[parameter.unsafeGetTensorImpl()];
    if (kept == nullptr) {
      auto state = std::make_unique<State>();
      state->step(0);
      state->exp_avg(torch::zeros_like(parameter));
      state->exp_avg_sq(torch::zeros_like(parameter));
      kept = std::move(state);
    }
    return static_cast<State&>(*kept);
  }

  void update(torch::optim::OptimizerParamGroup& group) {
    const auto& options = static_cast<const Options&>(group.options());
    std::vector<torch::Tensor> parameters, gradients, means, squares, steps;
    for (const torch::Tensor& parameter : group.params()) {
      if (!parameter.grad().defined()) continue;
      State& state = state_of(parameter);
      state.step(state.step() + 1);
      parameters.push_back(parameter);
      gradients.push_back(parameter.grad().contiguous());
      means.push_back(state.exp_avg());
      squares.push_back(state.exp_avg_sq());
      steps.push_back(torch::full({}, static_cast<double>(state.step()), torch::kFloat32));
    }
    if (parameters.empty()) return;
    const auto [beta1, beta2] = options.betas();
    const auto fused = [] {
      using Function =
          void (*)(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList,
                   at::TensorList, double, double, double, double, double, bool, bool,
                   const std::optional<torch::Tensor>&, const std::optional<torch::Tensor>&);
      return std::is_same_v<Base, AdamW> ? static_cast<Function>(&at::_fused_adamw_)
                                         : static_cast<Function>(&at::_fused_adam_);
    }();
    fused(parameters, gradients, means, squares, {}, steps, options.lr(), beta1, beta2,
          options.weight_decay(), options.eps(), /*amsgrad=*/false, /*maximize=*/false, {}, {});
  }
};

}  // namespace

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const TrainOptions& o,
                                                        std::vector<torch::Tensor> parameters) {
  const auto set = [&o](auto options) {
    options.lr(o.learning_rate).betas({o.beta1, o.beta2}).eps(o.epsilon);
    options.weight_decay(o.weight_decay);
    return options;
  };
  if (o.optimizer == "adamw") {
    return std::make_unique<Fused<AdamW, AdamWOptions, AdamWParamState>>(std::move(parameters),
                                                                         set(AdamWOptions()));
  }
  return std::make_unique<Fused<Adam, AdamOptions, AdamParamState>>(std::move(parameters),
                                                                    set(AdamOptions()));
}

}  // namespace regard::train
