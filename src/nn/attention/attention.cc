// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/attention.h"

#include <ATen/autocast_mode.h>

#include <stdexcept>

#include "nn/attention/engine.h"

namespace regard::nn {
namespace {

using engine::Call;
using engine::Encoded;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The gradients as a function of their own, so that differentiating them again is an error with a
// name and not a wrong number.
struct Gradients : torch::autograd::Function<Gradients> {
  static variable_list forward(AutogradContext*, const torch::Tensor& d_out,
                               const torch::Tensor& query, const torch::Tensor& key,
                               const torch::Tensor& value,
                               const std::optional<torch::Tensor>& d_lse, const engine::Pass& pass,
                               const c10::intrusive_ptr<Call>& call,
                               const std::vector<torch::Tensor>& tensors, std::int64_t wanted) {
    return engine::backward(d_out, d_lse.value_or(torch::Tensor()),
                            {query, key, value, pass.out, pass.statistics}, *call, tensors, wanted);
  }
  static variable_list backward(AutogradContext*, const variable_list&) {
    throw std::runtime_error(
        "regard::nn::attention: double backward (a gradient of its gradient) is not supported");
  }
};

struct Attention : torch::autograd::Function<Attention> {
  // (out) or (out, lse).
  static variable_list forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               at::TensorList tensors, const c10::intrusive_ptr<Call>& call,
                               bool lse) {
    auto [out, statistics] = engine::forward(query, key, value, *call, tensors.vec(), lse);
    variable_list saved{query, key, value, out, statistics};
    saved.insert(saved.end(), tensors.begin(), tensors.end());
    context->save_for_backward(std::move(saved));
    context->saved_data["call"] = torch::IValue::make_capsule(call);
    context->set_materialize_grads(false);
    if (lse) return {out, statistics.select(0, 2)};
    return {out};
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list saved = context->get_saved_variables();
    const engine::Pass pass{saved[0], saved[1], saved[2], saved[3], saved[4]};
    const std::vector<torch::Tensor> tensors(saved.begin() + 5, saved.end());
    const auto call =
        c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    const std::size_t inputs = 3 + tensors.size();
    std::int64_t wanted = 0;
    for (std::size_t i = 0; i < inputs; ++i)
      if (context->needs_input_grad(i)) wanted |= std::int64_t{1} << i;
    const torch::Tensor d_out = arrived[0].defined() ? arrived[0] : torch::zeros_like(pass.out);
    const torch::Tensor d_lse = arrived.size() > 1 ? arrived[1] : torch::Tensor();
    const auto d_lse_given = d_lse.defined() ? std::optional(d_lse) : std::nullopt;
    variable_list found = torch::GradMode::is_enabled()
                              ? Gradients::apply(d_out, pass.query, pass.key, pass.value,
                                                 d_lse_given, pass, call, tensors, wanted)
                              : engine::backward(d_out, d_lse, pass, *call, tensors, wanted);
    variable_list result(inputs + 2);
    auto next = found.begin();
    for (std::size_t i = 0; i < inputs; ++i)
      if ((wanted >> i & 1) != 0) result[i] = *next++;
    return result;
  }
};

void check(const torch::Tensor& tensor, const char* name) {
  if (!tensor.defined()) throw std::invalid_argument(std::string(name) + ": not given");
  if (!tensor.device().is_cpu())
    throw std::invalid_argument(std::string(name) + ": on " + tensor.device().str() +
                                "; expected a tensor on the CPU");
  if (tensor.layout() != torch::kStrided)
    throw std::invalid_argument(std::string(name) + ": expected a dense tensor");
}

struct Inputs {
  torch::Tensor query, key, value;
};

// Checked, lowered to autocast's dtype, and with sizes of 1 repeated, by views, where they stand
// for several: so gradients find their own shapes.
Inputs prepared(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                const Encoded& encoded) {
  check(query, "query");
  check(key, "key");
  check(value, "value");
  for (const torch::Tensor& tensor : encoded.tensors) check(tensor, "a tensor of the options");
  Inputs inputs{query, key, value};
  std::array<torch::Tensor*, 3> all{&inputs.query, &inputs.key, &inputs.value};
  if (at::autocast::is_autocast_enabled(at::kCPU)) {
    const auto dtype = at::autocast::get_autocast_dtype(at::kCPU);
    for (torch::Tensor* x : all)
      if (x->is_floating_point() && x->scalar_type() != torch::kFloat64) *x = x->to(dtype);
  }
  std::int64_t rank = 0, batch = 1;
  for (torch::Tensor* x : all) {
    *x = x->resolve_neg();
    rank = std::max(rank, x->dim());
  }
  if (rank != 4) return inputs;
  for (torch::Tensor* x : all) {
    while (x->dim() < 4 && x->dim() >= 2) *x = x->unsqueeze(0);
    if (batch == 1) batch = x->size(0);
  }
  for (torch::Tensor* x : all)
    if (x->dim() == 4 && x->size(0) == 1 && batch != 1) *x = x->expand({batch, -1, -1, -1});
  return inputs;
}

bool any_gradient(const Inputs& inputs, const std::vector<torch::Tensor>& tensors) {
  if (!torch::GradMode::is_enabled()) return false;
  const auto needs = [](const torch::Tensor& x) { return x.requires_grad(); };
  return needs(inputs.query) || needs(inputs.key) || needs(inputs.value) ||
         std::any_of(tensors.begin(), tensors.end(), needs);
}

variable_list run(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                  const AttentionOptions& options, bool lse) {
  const Encoded encoded = engine::encode(options);
  const Inputs inputs = prepared(query, key, value, encoded);
  if (any_gradient(inputs, encoded.tensors))
    return Attention::apply(inputs.query, inputs.key, inputs.value, at::TensorList(encoded.tensors),
                            encoded.call, lse);
  auto [out, sum] =
      engine::infer(inputs.query, inputs.key, inputs.value, *encoded.call, encoded.tensors, lse);
  if (lse) return {out, sum};
  return {out};
}

}  // namespace

torch::Tensor attention(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value, const AttentionOptions& options) {
  return run(query, key, value, options, false)[0];
}

std::pair<torch::Tensor, torch::Tensor> attention_with_lse(const torch::Tensor& query,
                                                           const torch::Tensor& key,
                                                           const torch::Tensor& value,
                                                           const AttentionOptions& options) {
  const variable_list result = run(query, key, value, options, true);
  return {result[0], result[1]};
}

torch::Tensor attention_map(const torch::Tensor& query, const torch::Tensor& key,
                            const AttentionOptions& options) {
  torch::NoGradGuard no_grad;
  const Encoded encoded = engine::encode(options);
  const Inputs inputs = prepared(query, key, key, encoded);
  return engine::weights(inputs.query, inputs.key, *encoded.call, encoded.tensors);
}

torch::Tensor attention_rollout(const torch::Tensor& rows, const torch::Tensor& query,
                                const torch::Tensor& key, const AttentionOptions& options,
                                double residual) {
  torch::NoGradGuard no_grad;
  const Encoded encoded = engine::encode(options);
  const Inputs inputs = prepared(query, key, key, encoded);
  return engine::rollout(rows.to(torch::kFloat32), inputs.query, inputs.key, *encoded.call,
                         encoded.tensors, residual);
}

torch::Tensor prepare_keys(const torch::Tensor& key) {
  check(key, "key");
  torch::NoGradGuard no_grad;
  return engine::prepare_keys(key.detach());
}

}  // namespace regard::nn
