// SPDX-License-Identifier: Apache-2.0
#include "core/validate/validate.h"

#include <cmath>
#include <string>

#include "core/check_view.h"
#include "core/element.h"
#include "core/kernels/dispatch.h"
#include "core/plan/mask_node.h"
#include "core/plan/part.h"
#include "core/return_if_error.h"
#include "core/validate/apart.h"
#include "core/validate/modifiers.h"

namespace regard {
namespace {

constexpr std::int64_t kMaxDim = 512, kMaxAdditiveDim = 2048, kMaxValueDim = 2048;

Status invalid(const std::string& name, const std::string& what) {
  return Status::invalid(name + ": " + what);
}

Status check_shape(const char* name, const Shape& shape, const Shape& expected, const char* as) {
  if (shape == expected) return {};
  return invalid(name, "shape " + text(shape) + "; expected " + text(expected) + ", " + as);
}

Status check_dtype(const char* name, DType dtype, DType expected, const char* as) {
  if (dtype == expected) return {};
  return invalid(
      name, std::string("dtype ") + name_of(dtype) + "; expected " + name_of(expected) + ", " + as);
}

// `expected`, or float32 in its place.
Status check_result_dtype(const char* name, DType dtype, DType expected, const char* as) {
  if (dtype == expected || dtype == DType::kFloat32) return {};
  return invalid(name, std::string("dtype ") + name_of(dtype) + "; expected " + name_of(expected) +
                           ", " + as + (expected == DType::kFloat32 ? "" : ", or float32"));
}

Status check_dim(const char* name, const TensorView& view, std::int64_t most) {
  if (view.shape[3] >= 1 && view.shape[3] <= most) return {};
  return invalid(name, "shape " + text(view.shape) + " has dim " + std::to_string(view.shape[3]) +
                           "; expected 1 to " + std::to_string(most));
}

Status check_qkv(const TensorView& q, const TensorView& k, const TensorView& v,
                 const Options& options) {
  REGARD_RETURN_IF_ERROR(kernels::target_status());
  REGARD_RETURN_IF_ERROR(check_view("query", q));
  REGARD_RETURN_IF_ERROR(check_view("key", k));
  REGARD_RETURN_IF_ERROR(check_view("value", v));
  if (!is_floating(q.dtype)) {
    return invalid("query", std::string("dtype ") + name_of(q.dtype) +
                                "; expected float32, bfloat16, float16 or float64");
  }
  REGARD_RETURN_IF_ERROR(check_dtype("key", k.dtype, q.dtype, "as query"));
  REGARD_RETURN_IF_ERROR(check_dtype("value", v.dtype, q.dtype, "as query"));
  REGARD_RETURN_IF_ERROR(check_dim("query", q, options.score ? kMaxAdditiveDim : kMaxDim));
  REGARD_RETURN_IF_ERROR(check_dim("value", v, kMaxValueDim));
  if (k.shape[0] != q.shape[0]) {
    return invalid("key", "shape " + text(k.shape) + " has batch " + std::to_string(k.shape[0]) +
                              "; query has " + std::to_string(q.shape[0]));
  }
  const std::int64_t heads_q = q.shape[1], heads_kv = k.shape[1];
  if (heads_kv == 0 ? heads_q != 0 : heads_q % heads_kv != 0) {
    return invalid("key", "shape " + text(k.shape) + " has " + std::to_string(heads_kv) +
                              " heads; query has " + std::to_string(heads_q) +
                              ", which must be a multiple of them");
  }
  if (k.shape[3] != q.shape[3]) {
    return invalid("key", "shape " + text(k.shape) + " has dim " + std::to_string(k.shape[3]) +
                              "; query has " + std::to_string(q.shape[3]));
  }
  return check_shape("value", v.shape, {k.shape[0], k.shape[1], k.shape[2], v.shape[3]},
                     "batch, heads and length of key");
}

Status check_score(const Additive& score, const TensorView& q, const TensorView& k) {
  if (score.prepared_keys.given()) {
    const TensorView& prepared = score.prepared_keys;
    REGARD_RETURN_IF_ERROR(check_view("score.prepared_keys", prepared));
    REGARD_RETURN_IF_ERROR(check_dtype("score.prepared_keys", prepared.dtype, computed_in(q.dtype),
                                       "as prepare_keys() makes them"));
    if (!broadcasts(prepared.shape, k.shape)) {
      return invalid("score.prepared_keys",
                     "shape " + text(prepared.shape) + "; expected that of key, " + text(k.shape));
    }
  }
  const TensorView& v = score.v;
  REGARD_RETURN_IF_ERROR(check_view("score.v", v));
  if (!is_floating(v.dtype)) {
    return invalid("score.v", std::string("dtype ") + name_of(v.dtype) +
                                  "; expected float32, bfloat16, float16 or float64");
  }
  const Shape own{q.shape[0], q.shape[1], 1, q.shape[3]};
  if (v.shape[3] == own[3] && broadcasts(v.shape, own)) return {};
  return invalid("score.v",
                 "shape " + text(v.shape) +
                     "; expected one that broadcasts to (batch, heads, 1, dim) of query, " +
                     text(own));
}

Status check_options(const Options& options, const TensorView& q, const TensorView& k) {
  if (options.score) REGARD_RETURN_IF_ERROR(check_score(*options.score, q, k));
  if (options.scale && !std::isfinite(*options.scale)) {
    return invalid("scale", text(*options.scale) + "; expected a finite number");
  }
  if (options.scale && q.dtype != DType::kFloat64 &&
      !std::isfinite(static_cast<float>(*options.scale))) {
    return invalid("scale", text(*options.scale) + "; expected a number that float32 can hold");
  }
  const Shape scores{q.shape[0], q.shape[1], q.shape[2], k.shape[2]};
  REGARD_RETURN_IF_ERROR(check_modifiers(options.modifiers, scores, computed_in(q.dtype)));
  if (options.part) REGARD_RETURN_IF_ERROR(plan::check_part(*options.part, scores[2], scores[3]));
  if (options.mask.hides_nothing()) return {};
  const bool whole = !options.part.has_value();
  return options.mask.node()->check({scores[0], scores[1], whole ? scores[2] : options.part->len_q,
                                     whole ? scores[3] : options.part->len_k});
}

Shape shape_of_out(const TensorView& q, const TensorView& v) {
  return {q.shape[0], q.shape[1], q.shape[2], v.shape[3]};
}
Shape shape_of_statistics(const TensorView& q) { return {q.shape[0], q.shape[1], q.shape[2], 1}; }

Status check_out(const TensorView& out, const TensorView& q, const TensorView& v) {
  REGARD_RETURN_IF_ERROR(check_shape("out", out.shape, shape_of_out(q, v),
                                     "(batch, heads, len_q) of query and dim of value"));
  if (q.dtype == DType::kFloat64) return check_dtype("out", out.dtype, q.dtype, "as query");
  return check_result_dtype("out", out.dtype, q.dtype, "as query");
}

Status check_statistics(const char* name, const TensorView& view, const TensorView& q) {
  REGARD_RETURN_IF_ERROR(check_shape(name, view.shape, shape_of_statistics(q),
                                     "(batch, heads, len_q) of query and 1"));
  return check_dtype(name, view.dtype, computed_in(q.dtype), "as scores are computed");
}

Status check_optional_statistics(const char* name, const MutableTensorView& view,
                                 const TensorView& q) {
  if (!view.given()) return {};
  REGARD_RETURN_IF_ERROR(check_output(name, view));
  return check_statistics(name, as_const(view), q);
}

Status check_gradient(const std::string& name, const MutableTensorView& gradient,
                      const TensorView& input, const char* of) {
  if (!gradient.given()) return {};
  REGARD_RETURN_IF_ERROR(check_output(name.c_str(), gradient));
  REGARD_RETURN_IF_ERROR(check_shape(name.c_str(), gradient.shape, input.shape, of));
  return check_result_dtype(name.c_str(), gradient.dtype, input.dtype, of);
}

}  // namespace

Status validate_forward(const Inputs& inputs, const Options& options, const Outputs& outputs) {
  const auto& [q, k, v] = inputs;
  REGARD_RETURN_IF_ERROR(check_qkv(q, k, v, options));
  REGARD_RETURN_IF_ERROR(check_options(options, q, k));
  REGARD_RETURN_IF_ERROR(check_output("out", outputs.out));
  REGARD_RETURN_IF_ERROR(check_out(as_const(outputs.out), q, v));
  REGARD_RETURN_IF_ERROR(check_optional_statistics("maximum", outputs.maximum, q));
  REGARD_RETURN_IF_ERROR(check_optional_statistics("log_sum", outputs.log_sum, q));
  REGARD_RETURN_IF_ERROR(check_optional_statistics("lse", outputs.lse, q));
  return check_forward_apart(inputs, options, outputs);
}

Status validate_backward(const BackwardInputs& inputs, const Options& options,
                         const Gradients& gradients) {
  const TensorView &q = inputs.q, &k = inputs.k, &v = inputs.v;
  REGARD_RETURN_IF_ERROR(check_qkv(q, k, v, options));
  REGARD_RETURN_IF_ERROR(check_options(options, q, k));
  REGARD_RETURN_IF_ERROR(check_view("out", inputs.out));
  REGARD_RETURN_IF_ERROR(check_out(inputs.out, q, v));
  REGARD_RETURN_IF_ERROR(check_view("maximum", inputs.maximum));
  REGARD_RETURN_IF_ERROR(check_statistics("maximum", inputs.maximum, q));
  REGARD_RETURN_IF_ERROR(check_view("log_sum", inputs.log_sum));
  REGARD_RETURN_IF_ERROR(check_statistics("log_sum", inputs.log_sum, q));
  REGARD_RETURN_IF_ERROR(check_view("d_out", inputs.d_out));
  REGARD_RETURN_IF_ERROR(check_shape("d_out", inputs.d_out.shape, inputs.out.shape, "as out"));
  REGARD_RETURN_IF_ERROR(check_dtype("d_out", inputs.d_out.dtype, inputs.out.dtype, "as out"));
  if (inputs.d_lse.given()) {
    REGARD_RETURN_IF_ERROR(check_view("d_lse", inputs.d_lse));
    REGARD_RETURN_IF_ERROR(check_statistics("d_lse", inputs.d_lse, q));
  }
  REGARD_RETURN_IF_ERROR(check_gradient("dq", gradients.dq, q, "as query"));
  REGARD_RETURN_IF_ERROR(check_gradient("dk", gradients.dk, k, "as key"));
  REGARD_RETURN_IF_ERROR(check_gradient("dv", gradients.dv, v, "as value"));
  if (gradients.d_score_v.given()) {
    if (!options.score)
      return invalid("d_score_v", "given; but the score is a dot product, which has no v");
    REGARD_RETURN_IF_ERROR(
        check_gradient("d_score_v", gradients.d_score_v, options.score->v, "as score.v"));
  }
  REGARD_RETURN_IF_ERROR(check_modifier_gradients(gradients.d_modifiers, options.modifiers));
  return check_backward_apart(inputs, options, gradients);
}

Status validate_prepare_keys(const TensorView& k, const MutableTensorView& prepared) {
  REGARD_RETURN_IF_ERROR(kernels::target_status());
  REGARD_RETURN_IF_ERROR(check_view("key", k));
  if (!is_floating(k.dtype)) {
    return invalid("key", std::string("dtype ") + name_of(k.dtype) +
                              "; expected float32, bfloat16, float16 or float64");
  }
  REGARD_RETURN_IF_ERROR(check_dim("key", k, kMaxAdditiveDim));
  REGARD_RETURN_IF_ERROR(check_output("prepared", prepared));
  REGARD_RETURN_IF_ERROR(check_shape("prepared", prepared.shape, k.shape, "that of key"));
  REGARD_RETURN_IF_ERROR(
      check_dtype("prepared", prepared.dtype, computed_in(k.dtype), "as scores are computed"));
  const NamedView written[] = {{"prepared", prepared}};
  return check_apart(written, "key", k);
}

Status validate_scores(const TensorView& q, const TensorView& k, const Options& options,
                       const TensorView& maximum, const TensorView& log_sum) {
  REGARD_RETURN_IF_ERROR(check_qkv(q, k, k, options));  // keys are values that fit
  REGARD_RETURN_IF_ERROR(check_options(options, q, k));
  if (maximum.given() != log_sum.given()) {
    return maximum.given()
               ? invalid("log_sum", "not given; maximum is, and the two belong together")
               : invalid("maximum", "not given; log_sum is, and the two belong together");
  }
  for (const auto& [name, view] : {std::pair{"maximum", &maximum}, {"log_sum", &log_sum}}) {
    if (!view->given()) continue;
    REGARD_RETURN_IF_ERROR(check_view(name, *view));
    REGARD_RETURN_IF_ERROR(check_statistics(name, *view, q));
  }
  return {};
}

namespace {

// A state whose out is as `model`, which is called `as`; `writable`: its elements lie apart.
Status check_state(const std::string& name, const State& state, const MutableTensorView& model,
                   const std::string& as, bool writable) {
  const auto check = [&](const std::string& what, const MutableTensorView& view, const Shape& shape,
                         const std::string& like) -> Status {
    REGARD_RETURN_IF_ERROR(writable ? check_output(what.c_str(), view)
                                    : check_view(what.c_str(), as_const(view)));
    REGARD_RETURN_IF_ERROR(check_shape(what.c_str(), view.shape, shape, like.c_str()));
    return check_dtype(what.c_str(), view.dtype, model.dtype, ("as " + as).c_str());
  };
  const Shape& out = model.shape;
  const Shape statistics{out[0], out[1], out[2], 1};
  REGARD_RETURN_IF_ERROR(check(name + ".out", state.out, out, "as " + as));
  REGARD_RETURN_IF_ERROR(check(name + ".maximum", state.maximum, statistics,
                               "(batch, heads, len_q) of " + as + " and 1"));
  return check(name + ".log_sum", state.log_sum, statistics,
               "(batch, heads, len_q) of " + as + " and 1");
}

Status check_state_dtype(const char* name, DType dtype) {
  if (dtype == DType::kFloat32 || dtype == DType::kFloat64) return {};
  return invalid(name, std::string("dtype ") + name_of(dtype) + "; expected float32 or float64");
}

}  // namespace

Status validate_merge(const State& other, const State& into) {
  REGARD_RETURN_IF_ERROR(check_state_dtype("into.out", into.out.dtype));
  REGARD_RETURN_IF_ERROR(check_state("into", into, into.out, "into.out", true));
  REGARD_RETURN_IF_ERROR(check_state("other", other, into.out, "into.out", false));
  return check_merge_apart(other, into);
}

Status validate_merge_backward(const State& part, const State& whole, const TensorView& d_out,
                               const TensorView& d_lse, const StateGradients& gradients) {
  const Shape out = whole.out.shape, statistics{out[0], out[1], out[2], 1};
  const DType dtype = whole.out.dtype;
  REGARD_RETURN_IF_ERROR(check_state_dtype("whole.out", dtype));
  REGARD_RETURN_IF_ERROR(check_state("whole", whole, whole.out, "whole.out", false));
  REGARD_RETURN_IF_ERROR(check_state("part", part, whole.out, "whole.out", false));
  const auto check_gradient_view = [&](const char* name, const TensorView& view,
                                       const Shape& shape) -> Status {
    REGARD_RETURN_IF_ERROR(check_view(name, view));
    REGARD_RETURN_IF_ERROR(
        check_shape(name, view.shape, shape, shape == out ? "as whole.out" : "as whole.log_sum"));
    return check_dtype(name, view.dtype, dtype, "as whole.out");
  };
  REGARD_RETURN_IF_ERROR(check_gradient_view("d_out", d_out, out));
  if (d_lse.given()) REGARD_RETURN_IF_ERROR(check_gradient_view("d_lse", d_lse, statistics));
  if (gradients.d_out.given()) {
    REGARD_RETURN_IF_ERROR(check_output("gradients.d_out", gradients.d_out));
    REGARD_RETURN_IF_ERROR(check_gradient_view("gradients.d_out", as_const(gradients.d_out), out));
  }
  if (gradients.d_lse.given()) {
    REGARD_RETURN_IF_ERROR(check_output("gradients.d_lse", gradients.d_lse));
    REGARD_RETURN_IF_ERROR(
        check_gradient_view("gradients.d_lse", as_const(gradients.d_lse), statistics));
  }
  return check_merge_backward_apart(part, whole, d_out, d_lse, gradients);
}

}  // namespace regard
