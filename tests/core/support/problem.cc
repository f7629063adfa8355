// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/problem.h"

#include <cmath>

namespace regard::testing {

Options Problem::options() const {
  Options options;
  options.scale = scale;
  if (score_v.given()) options.score = Additive{score_v.view()};
  if (prepared_keys.given()) options.score->prepared_keys = prepared_keys.view();
  options.mask = rule.mask;
  // The list's order must not matter to the stages: the softcap goes between the biases.
  for (std::size_t n = 0; n < biases.size(); ++n) {
    if (n == 1 && softcap != 0) options.modifiers.push_back(Softcap{softcap});
    options.modifiers.push_back(Bias{biases[n].values.view(), biases[n].before_softcap});
  }
  if (biases.size() < 2 && softcap != 0) options.modifiers.push_back(Softcap{softcap});
  extras.append(options.modifiers);
  return options;
}

DenseProblem Problem::dense() const {
  DenseProblem p;
  p.batch = batch(), p.heads = heads(), p.group = group(), p.len_q = len_q(), p.len_k = len_k(),
  p.dim = dim(), p.dim_v = dim_v();
  p.scale = scale.value_or(score_v.given() ? 1 : 1 / std::sqrt(static_cast<double>(p.dim)));
  if (score_v.given()) {
    for_each_index({p.batch, p.heads, 1, p.dim}, [&](auto b, auto h, auto, auto d) {
      p.score_v.push_back(score_v.broadcast_at(b, h, 0, d));
    });
  }
  p.softcap = softcap;
  p.q = q.values(), p.k = k.values(), p.v = v.values();
  p.allowed = testing::dense(rule, p.batch, p.heads, p.len_q, p.len_k);
  for (const BiasTensor& bias : biases) {
    // Without a softcap a bias before it is a bias after it.
    std::vector<double>& sum = bias.before_softcap && softcap != 0 ? p.bias_before : p.bias_after;
    sum.resize(static_cast<std::size_t>(p.batch * p.heads * p.len_q * p.len_k));
    std::size_t at = 0;
    for_each_index({p.batch, p.heads, p.len_q, p.len_k}, [&](auto b, auto h, auto i, auto j) {
      sum[at++] += bias.values.broadcast_at(b, h, i, j);
    });
  }
  extras.apply(rule, p);
  if (d_out.given()) p.d_out = d_out.values();
  if (d_lse.given()) p.d_lse = d_lse.values();
  return p;
}

Problem Problem::rows(std::int64_t begin, std::int64_t size) const {
  Problem part = *this;
  part.q = q.slice(2, begin, size);
  if (d_out.given()) part.d_out = d_out.slice(2, begin, size);
  if (d_lse.given()) part.d_lse = d_lse.slice(2, begin, size);
  for (BiasTensor& bias : part.biases) bias.values = bias.values.slice(2, begin, size);
  return part;
}

Problem Problem::batch_entry(std::int64_t b) const {
  Problem part = *this;
  for (Tensor* tensor :
       {&part.q, &part.k, &part.v, &part.score_v, &part.prepared_keys, &part.d_out, &part.d_lse})
    if (tensor->given()) *tensor = tensor->slice(0, b, 1);
  for (BiasTensor& bias : part.biases) bias.values = bias.values.slice(0, b, 1);
  return part;
}

Problem Problem::head(std::int64_t h) const {
  Problem part = *this;
  for (Tensor* tensor : {&part.q, &part.d_out, &part.d_lse})
    if (tensor->given()) *tensor = tensor->slice(1, h, 1);
  if (score_v.given()) part.score_v = score_v.slice(1, h, 1);
  part.k = k.slice(1, h / group(), 1);
  if (prepared_keys.given()) part.prepared_keys = prepared_keys.slice(1, h / group(), 1);
  part.v = v.slice(1, h / group(), 1);
  for (BiasTensor& bias : part.biases) bias.values = bias.values.slice(1, h, 1);
  return part;
}

Problem Problem::keys(std::int64_t begin, std::int64_t size) const {
  Problem part = *this;
  part.k = k.slice(2, begin, size);
  if (prepared_keys.given()) part.prepared_keys = prepared_keys.slice(2, begin, size);
  part.v = v.slice(2, begin, size);
  for (BiasTensor& bias : part.biases) bias.values = bias.values.slice(3, begin, size);
  return part;
}

Problem random_problem(Random& random, DType dtype, const Sizes& s) {
  Problem p;
  const std::int64_t heads = s.heads_kv * s.group;
  p.q = Tensor(dtype, {s.batch, heads, s.len_q, s.dim});
  p.k = Tensor(dtype, {s.batch, s.heads_kv, s.len_k, s.dim});
  p.v = Tensor(dtype, {s.batch, s.heads_kv, s.len_k, s.dim_v});
  p.d_out = Tensor(dtype, {s.batch, heads, s.len_q, s.dim_v});
  for (Tensor* tensor : {&p.q, &p.k, &p.v, &p.d_out}) tensor->fill_normal(random);
  return p;
}

Results attempt(const Problem& p, const Executor& executor, const Request& request) {
  const DType wide = p.statistics_dtype();
  const DType out_dtype = request.wide_out ? wide : p.q.dtype();
  const Shape rows{p.batch(), p.heads(), p.len_q(), 1};
  const Options options = p.options();
  Results r;
  r.out = Tensor(out_dtype, {p.batch(), p.heads(), p.len_q(), p.dim_v()}, request.out_lie);
  if (request.statistics) r.maximum = Tensor(wide, rows);
  if (request.statistics) r.log_sum = Tensor(wide, rows);
  if (request.lse) r.lse = Tensor(wide, rows);
  const Outputs outputs{r.out.mutable_view(), r.maximum.optional_mutable_view(),
                        r.log_sum.optional_mutable_view(), r.lse.optional_mutable_view()};
  const Status status = forward({p.q.view(), p.k.view(), p.v.view()}, options, outputs, executor);
  if (!status.ok()) r.error = "forward(): " + status.message();
  if (!r.out.gaps_untouched()) r.error = "forward() wrote between the elements of out";
  if (!p.d_out.given() || !request.statistics || !r.error.empty()) return r;

  const auto wanted = [&](bool asked, const Tensor& input) {
    if (!asked) return Tensor();
    const DType dtype = request.wide_gradients && input.dtype() != kF64 ? kF32 : input.dtype();
    return Tensor(dtype, input.shape(), request.gradient_lie);
  };
  r.dq = wanted(request.dq, p.q);
  r.dk = wanted(request.dk, p.k);
  r.dv = wanted(request.dv, p.v);
  Gradients gradients{
      r.dq.optional_mutable_view(), r.dk.optional_mutable_view(), r.dv.optional_mutable_view(), {}};
  for (std::size_t n = 0; n < p.biases.size(); ++n)
    r.d_bias.push_back(wanted(n >= request.d_bias.size() || request.d_bias[n], p.biases[n].values));
  for (Tensor& d_bias : r.d_bias) gradients.d_modifiers.push_back(d_bias.optional_mutable_view());
  for (const Tensor* tensor : p.extras.tensors()) r.d_extras.push_back(wanted(true, *tensor));
  for (Tensor& d_extra : r.d_extras) gradients.d_modifiers.push_back(d_extra.mutable_view());
  r.d_score_v = wanted(request.d_score_v && p.score_v.given(), p.score_v);
  gradients.d_score_v = r.d_score_v.optional_mutable_view();
  const Tensor d_out = p.d_out.dtype() == out_dtype ? p.d_out : p.d_out.as(out_dtype);
  const BackwardInputs inputs{
      p.q.view(),       p.k.view(),       p.v.view(),   r.out.view(),
      r.maximum.view(), r.log_sum.view(), d_out.view(), p.d_lse.optional_view()};
  const Status backward_status = backward(inputs, options, gradients, executor);
  if (!backward_status.ok()) r.error = "backward(): " + backward_status.message();
  const auto check_gaps = [&](const char* name, const Tensor& gradient) {
    if (gradient.given() && !gradient.gaps_untouched())
      r.error = std::string("backward() wrote between the elements of ") + name;
  };
  check_gaps("dq", r.dq);
  check_gaps("dk", r.dk);
  check_gaps("dv", r.dv);
  for (const Tensor& d_bias : r.d_bias) check_gaps("d_bias", d_bias);
  return r;
}

Results run(const Problem& problem, const Executor& executor, const Request& request) {
  Results results = attempt(problem, executor, request);
  EXPECT_EQ(results.error, "");
  return results;
}

Results Results::slice(int axis, std::int64_t begin, std::int64_t size) const {
  Results part = *this;
  std::vector<Tensor*> tensors{&part.out, &part.maximum, &part.log_sum, &part.lse, &part.dq};
  if (axis == 0)
    tensors.insert(tensors.end(), {&part.dk, &part.dv});
  else
    part.dk = part.dv = Tensor();
  part.d_score_v = Tensor();
  part.d_extras.clear();
  for (Tensor& d_bias : part.d_bias) {
    if (d_bias.given() && d_bias.shape()[axis] == 1) d_bias = Tensor();
    tensors.push_back(&d_bias);
  }
  for (Tensor* tensor : tensors)
    if (tensor->given()) *tensor = tensor->slice(axis, begin, size);
  return part;
}

namespace {

::testing::AssertionResult same_bits(const char* name, const Tensor& a, const Tensor& b) {
  if (!a.given() || !b.given()) return ::testing::AssertionSuccess();
  const auto result = testing::same_bits(a, b);
  if (result) return result;
  return ::testing::AssertionFailure() << name << " " << result.message();
}

}  // namespace

::testing::AssertionResult same_forward_bits(const Results& a, const Results& b) {
  for (const auto& result :
       {same_bits("out", a.out, b.out), same_bits("maximum", a.maximum, b.maximum),
        same_bits("log_sum", a.log_sum, b.log_sum), same_bits("lse", a.lse, b.lse)})
    if (!result) return result;
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult same_bits(const Results& a, const Results& b) {
  if (const auto result = same_forward_bits(a, b); !result) return result;
  for (const auto& result :
       {same_bits("dq", a.dq, b.dq), same_bits("dk", a.dk, b.dk), same_bits("dv", a.dv, b.dv),
        same_bits("d_score_v", a.d_score_v, b.d_score_v)})
    if (!result) return result;
  for (std::size_t n = 0; n < a.d_bias.size() && n < b.d_bias.size(); ++n)
    if (const auto result = same_bits("d_bias", a.d_bias[n], b.d_bias[n]); !result) return result;
  for (std::size_t n = 0; n < a.d_extras.size() && n < b.d_extras.size(); ++n)
    if (const auto result = same_bits("d_extras", a.d_extras[n], b.d_extras[n]); !result)
      return result;
  return ::testing::AssertionSuccess();
}

}  // namespace regard::testing
