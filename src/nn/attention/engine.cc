// SPDX-License-Identifier: Apache-2.0
#include "nn/attention/engine.h"

#include <stdexcept>

#include "regard/encoding.h"
#include "torch_ops/operators.h"

namespace regard::nn::engine {
namespace {

using Stable = torch_ops::Tensor;

// A handle of PyTorch's stable ABI is the address of an at::Tensor, which it owns.
Stable stable(const torch::Tensor& tensor) {
  return Stable(reinterpret_cast<AtenTensorHandle>(new at::Tensor(tensor)));
}

std::vector<Stable> stable(const std::vector<torch::Tensor>& tensors) {
  std::vector<Stable> result;
  result.reserve(tensors.size());
  for (const torch::Tensor& tensor : tensors) result.push_back(stable(tensor));
  return result;
}

std::optional<Stable> stable_or_none(const torch::Tensor& tensor) {
  if (!tensor.defined()) return std::nullopt;
  return stable(tensor);
}

torch::Tensor unstable(const Stable& tensor) {
  return *reinterpret_cast<at::Tensor*>(tensor.get());
}

std::int64_t handle(const std::shared_ptr<const Plan>& plan) {
  return plan == nullptr ? 0 : plan->number();
}

void add(Encoded& to, const OptionRecord& record) {
  to.call->ints.insert(to.call->ints.end(), record.ints.begin(), record.ints.end());
  to.call->floats.insert(to.call->floats.end(), record.floats.begin(), record.floats.end());
  to.tensors.insert(to.tensors.end(), record.tensors.begin(), record.tensors.end());
}

void add(Encoded& to, regard::Record kind, std::vector<double> floats,
         std::vector<torch::Tensor> tensors) {
  add(to,
      OptionRecord{{static_cast<std::int64_t>(kind), 0}, std::move(floats), std::move(tensors)});
}

torch::Tensor seed_of(const AttentionOptions& options) {
  if (options.seed) return torch::full({1, 1, 1, 1}, *options.seed, torch::kInt64);
  return torch::empty({1, 1, 1, 1}, torch::kInt64).random_();
}

}  // namespace

Encoded encode(const AttentionOptions& options) {
  Encoded result{c10::make_intrusive<Call>(), {}};
  result.call->order = static_cast<std::int64_t>(options.layout);
  result.call->plan = options.plan;
  add(result, options.mask.record());
  if (options.scale) add(result, regard::Record::kScale, {*options.scale}, {});
  if (options.softcap < 0)
    throw std::invalid_argument("softcap: " + std::to_string(options.softcap) +
                                "; expected a positive number, or 0 for none");
  if (options.softcap != 0) add(result, regard::Record::kSoftcap, {options.softcap}, {});
  if (options.additive_v.defined()) {
    const torch::Tensor& v = options.additive_v;
    if (v.dim() != 1 && v.dim() != 2)
      throw std::invalid_argument("additive_v: " + std::to_string(v.dim()) +
                                  " dimensions; expected (dim) or (heads, dim)");
    add(result, regard::Record::kAdditive, {}, {v.reshape({1, -1, 1, v.size(-1)})});
    if (options.prepared_keys.defined()) {
      const bool turned = options.layout != Layout::kBhsd && options.prepared_keys.dim() > 2;
      add(result, regard::Record::kPreparedKeys, {},
          {turned ? options.prepared_keys.transpose(-3, -2) : options.prepared_keys});
    }
  } else if (options.prepared_keys.defined()) {
    throw std::invalid_argument("prepared_keys: keys are prepared for an additive score");
  }
  for (const Modifier& modifier : options.modifiers) add(result, modifier.record());
  if (!(options.dropout_p >= 0 && options.dropout_p <= 1))
    throw std::invalid_argument("dropout_p: " + std::to_string(options.dropout_p) +
                                "; expected a probability between 0 and 1");
  if (options.dropout_p > 0)
    add(result, regard::Record::kDropout, {options.dropout_p}, {seed_of(options)});
  return result;
}

std::pair<torch::Tensor, torch::Tensor> forward(const torch::Tensor& query,
                                                const torch::Tensor& key,
                                                const torch::Tensor& value, const Call& call,
                                                const std::vector<torch::Tensor>& tensors,
                                                bool lse) {
  const auto [out, statistics] =
      torch_ops::forward_op(stable(query), stable(key), stable(value), call.ints, call.floats,
                            stable(tensors), call.order, handle(call.plan), lse);
  return {unstable(out), unstable(statistics)};
}

std::pair<torch::Tensor, torch::Tensor> infer(const torch::Tensor& query, const torch::Tensor& key,
                                              const torch::Tensor& value, const Call& call,
                                              const std::vector<torch::Tensor>& tensors, bool lse) {
  const auto [out, statistics] =
      torch_ops::infer(stable(query), stable(key), stable(value), call.ints, call.floats,
                       stable(tensors), call.order, handle(call.plan), lse);
  return {unstable(out), lse ? unstable(statistics).select(0, 0) : torch::Tensor()};
}

std::vector<torch::Tensor> backward(const torch::Tensor& d_out, const torch::Tensor& d_lse,
                                    const Pass& pass, const Call& call,
                                    const std::vector<torch::Tensor>& tensors,
                                    std::int64_t wanted) {
  std::vector<torch::Tensor> result;
  for (const Stable& gradient : torch_ops::backward_op(
           stable(d_out), stable_or_none(d_lse), stable(pass.query), stable(pass.key),
           stable(pass.value), stable(pass.out), stable(pass.statistics), call.ints, call.floats,
           stable(tensors), call.order, handle(call.plan), wanted))
    result.push_back(unstable(gradient));
  return result;
}

torch::Tensor weights(const torch::Tensor& query, const torch::Tensor& key, const Call& call,
                      const std::vector<torch::Tensor>& tensors) {
  const bool seq_first = call.order != static_cast<std::int64_t>(Layout::kBhsd);
  const auto size = [&](const torch::Tensor& x, bool heads) {
    if (x.dim() < 3) return heads ? std::int64_t{1} : x.size(0);
    return x.size(heads == seq_first ? -2 : -3);
  };
  const std::int64_t batch = query.dim() == 4 ? query.size(0) : 1;
  const auto answer = torch_ops::map_op(
      stable(query), stable(key), std::nullopt, std::nullopt, std::nullopt, call.ints, call.floats,
      stable(tensors), call.order, handle(call.plan), "weights",
      {0, batch, 0, size(query, true), 0, size(query, false), 0, size(key, false)},
      /*mean_heads=*/false, {}, "max");
  return unstable(answer.at(0));
}

torch::Tensor rollout(const torch::Tensor& rows, const torch::Tensor& query,
                      const torch::Tensor& key, const Call& call,
                      const std::vector<torch::Tensor>& tensors, double residual) {
  return unstable(torch_ops::rollout_layer(stable(query), stable(key), std::nullopt, std::nullopt,
                                           stable(rows.unsqueeze(1).contiguous()), call.ints,
                                           call.floats, stable(tensors), call.order,
                                           handle(call.plan), residual))
      .squeeze(1);
}

torch::Tensor prepare_keys(const torch::Tensor& key) {
  return unstable(torch_ops::prepare_keys_op(stable(key)));
}

}  // namespace regard::nn::engine

namespace regard::nn {

Plan::Plan(const Mask& mask, std::int64_t batch, std::int64_t heads, std::int64_t len_q,
           std::int64_t len_k)
    : number_(torch_ops::make_plan(mask.record().ints, engine::stable(mask.record().tensors), batch,
                                   heads, len_q, len_k)) {}

Plan::~Plan() { torch_ops::free_plan(number_); }

double Plan::density() const { return torch_ops::plan_density(number_); }

}  // namespace regard::nn
