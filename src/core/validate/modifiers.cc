#include "core/validate/modifiers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <string>

#include "core/check_view.h"
#include "core/element.h"
#include "core/modifier_tensor.h"
#include "core/return_if_error.h"

namespace regard {
namespace {

// What errors call a modifier, by its place in the variant.
constexpr std::array<const char*, std::variant_size_v<Modifier>> kNames = {
    "softcap",  "bias",  "temperature", "alibi",      "relative_bias",
    "function", "sinks", "dropout",     "multiplier", "gaussian"};

Status invalid(const std::string& name, const std::string& what) {
  return Status::invalid(name + ": " + what);
}

// "bias", or with more than one of them "bias[1]".
class Names {
 public:
  std::string next(const Modifier& modifier) {
    const std::size_t n = met_[modifier.index()]++;
    return kNames[modifier.index()] + (n == 0 ? std::string() : "[" + std::to_string(n) + "]");
  }

 private:
  std::array<std::size_t, std::variant_size_v<Modifier>> met_{};
};

Status check_tensor(const std::string& name, const TensorView& view, const Shape& full,
                    const char* axes) {
  REGARD_RETURN_IF_ERROR(check_view(name.c_str(), view));
  if (!is_floating(view.dtype)) {
    return invalid(name, std::string("dtype ") + name_of(view.dtype) +
                             "; expected float32, bfloat16, float16 or float64");
  }
  if (broadcasts(view.shape, full)) return {};
  return invalid(name,
                 "shape " + text(view.shape) + " does not broadcast to " + axes + " " + text(full));
}

Status check_codes(const std::string& name, const TensorView& view, std::int64_t size) {
  REGARD_RETURN_IF_ERROR(check_view(name.c_str(), view));
  if (view.dtype != DType::kInt32)
    return invalid(name, std::string("dtype ") + name_of(view.dtype) + "; expected int32");
  const Shape expected{1, 1, 1, size < 0 ? view.shape[3] : size};
  if (view.shape != expected)
    return invalid(name, "shape " + text(view.shape) + "; expected " + text(expected));
  if (view.shape[3] > 1 && view.strides[3] != 1)
    return invalid(
        name, "stride " + std::to_string(view.strides[3]) + "; expected neighbours side by side");
  return {};
}

struct Range {
  std::int64_t least = 0, most = -1;
};

Range range_of(const TensorView& codes) {
  const auto* first = static_cast<const std::int32_t*>(codes.data);
  if (codes.shape[3] == 0) return {};
  const auto [least, most] = std::minmax_element(first, first + codes.shape[3]);
  return {*least, *most};
}

Status check_relative(const std::string& name, const RelativeBias& bias, const Shape& scores) {
  REGARD_RETURN_IF_ERROR(check_tensor(name + ".table", bias.table,
                                      {1, scores[1], 1, bias.table.shape[3]},
                                      "(1, heads, 1, entries)"));
  REGARD_RETURN_IF_ERROR(check_codes(name + ".query_code", bias.query_code, scores[2]));
  REGARD_RETURN_IF_ERROR(check_codes(name + ".key_code", bias.key_code, scores[3]));
  REGARD_RETURN_IF_ERROR(check_codes(name + ".buckets", bias.buckets, -1));
  const Range buckets = range_of(bias.buckets);
  if (buckets.least < 0 || buckets.most >= bias.table.shape[3]) {
    return invalid(name + ".buckets", "holds " + std::to_string(buckets.least) + " to " +
                                          std::to_string(buckets.most) + "; the table has " +
                                          std::to_string(bias.table.shape[3]) + " entries");
  }
  if (scores[2] == 0 || scores[3] == 0) return {};
  const Range query = range_of(bias.query_code), key = range_of(bias.key_code);
  std::int64_t least, most;
  if (__builtin_add_overflow(key.least - query.most, bias.shift, &least) ||
      __builtin_add_overflow(key.most - query.least, bias.shift, &most) || least < 0 ||
      most >= bias.buckets.shape[3]) {
    return invalid(name + ".shift",
                   std::to_string(bias.shift) + ": differences of codes run from " +
                       std::to_string(key.least - query.most) + " to " +
                       std::to_string(key.most - query.least) +
                       "; with the shift they must lie in [0, " +
                       std::to_string(bias.buckets.shape[3]) + "), the size of buckets");
  }
  return {};
}

// A number above 0 that kernels, in `own`, make these of.
Status check_positive(const std::string& name, double value, std::initializer_list<double> used,
                      DType own) {
  if (!(value > 0) || std::isinf(value))
    return invalid(name, text(value) + "; expected a finite number above 0");
  const auto holds = [own](double x) {
    return own == DType::kFloat64 ? std::isfinite(x) : std::isfinite(static_cast<float>(x));
  };
  if (std::all_of(used.begin(), used.end(), holds)) return {};
  return invalid(name, text(value) + "; expected a number that " + name_of(own) + " can divide by");
}

Status check_temperature(const std::string& name, const TensorView& values, const Shape& scores,
                         DType own) {
  REGARD_RETURN_IF_ERROR(check_tensor(name, values, {1, scores[1], 1, 1}, "(1, heads, 1, 1)"));
  for (std::int64_t h = 0; h < values.shape[1]; ++h) {
    const double value = load(values, 0, h, 0, 0);
    REGARD_RETURN_IF_ERROR(check_positive(name, value, {value, 1 / value}, own));
  }
  return {};
}

Status check_sinks(const std::string& name, const TensorView& logits, const Shape& scores) {
  REGARD_RETURN_IF_ERROR(check_tensor(name, logits, {1, scores[1], 1, logits.shape[3]},
                                      "(1, heads, 1, sinks of a head)"));
  if (logits.shape[1] == scores[1]) return {};
  return invalid(name, "shape " + text(logits.shape) +
                           "; expected logits of their own for each of " +
                           std::to_string(scores[1]) + " heads");
}

Status check_modifier(const std::string& name, const Modifier& modifier, const Shape& scores,
                      DType own) {
  const auto& [batch, heads, len_q, len_k] = scores;
  if (const auto* softcap = std::get_if<Softcap>(&modifier))
    return check_positive(name, softcap->cap, {softcap->cap, 1 / softcap->cap}, own);
  if (const auto* bias = std::get_if<Bias>(&modifier))
    return check_tensor(name, bias->values, scores, "(batch, heads, len_q, len_k)");
  if (const auto* temperature = std::get_if<Temperature>(&modifier))
    return check_temperature(name, temperature->values, scores, own);
  if (const auto* alibi = std::get_if<Alibi>(&modifier))
    return check_tensor(name, alibi->slopes, {batch, heads, 1, 1}, "(batch, heads, 1, 1)");
  if (const auto* relative = std::get_if<RelativeBias>(&modifier))
    return check_relative(name, *relative, scores);
  if (const auto* sinks = std::get_if<Sinks>(&modifier))
    return check_sinks(name, sinks->logits, scores);
  if (const auto* multiplier = std::get_if<Multiplier>(&modifier)) {
    return check_tensor(name, multiplier->values, scores, "(batch, heads, len_q, len_k)");
  }
  if (const auto* function = std::get_if<Function>(&modifier)) {
    return function->apply != nullptr
               ? Status()
               : invalid(name, "apply is null; expected a function over tiles");
  }
  if (const auto* dropout = std::get_if<Dropout>(&modifier)) {
    if (dropout->p >= 0 && dropout->p <= 1) return {};
    return invalid(name, "p " + text(dropout->p) + "; expected a probability from 0 to 1");
  }
  const auto& gaussian = std::get<Gaussian>(modifier);
  REGARD_RETURN_IF_ERROR(check_positive(name + ".sigma", gaussian.sigma,
                                        {0.5 / (gaussian.sigma * gaussian.sigma)}, own));
  return check_tensor(name + ".centre", gaussian.centre, {batch, heads, len_q, 1},
                      "(batch, heads, len_q, 1)");
}

bool at_most_once(const Modifier& modifier) {
  return std::holds_alternative<Softcap>(modifier) ||
         std::holds_alternative<Temperature>(modifier) || std::holds_alternative<Sinks>(modifier);
}

}  // namespace

Status check_modifiers(const std::vector<Modifier>& modifiers, const Shape& scores, DType own) {
  if (modifiers.empty()) return {};
  Names names;
  std::array<bool, std::variant_size_v<Modifier>> met{};
  for (const Modifier& modifier : modifiers) {
    REGARD_RETURN_IF_ERROR(check_modifier(names.next(modifier), modifier, scores, own));
    if (met[modifier.index()] && at_most_once(modifier))
      return invalid(kNames[modifier.index()], "given twice; expected at most one");
    met[modifier.index()] = true;
  }
  return {};
}

Status check_modifier_gradients(const std::vector<MutableTensorView>& gradients,
                                const std::vector<Modifier>& modifiers) {
  Names names;
  std::size_t n = 0;
  for (const Modifier& modifier : modifiers) {
    const std::string own = names.next(modifier), name = "d_" + own;
    if (const auto* function = std::get_if<Function>(&modifier);
        function != nullptr && function->derive == nullptr) {
      return invalid(own, "derive is null; the backward pass needs it");
    }
    const TensorView* tensor = modifier_tensor(modifier);
    if (tensor == nullptr || n == gradients.size()) continue;
    const MutableTensorView& gradient = gradients[n++];
    if (!gradient.given()) continue;
    REGARD_RETURN_IF_ERROR(check_output(name.c_str(), gradient));
    if (gradient.shape != tensor->shape)
      return invalid(name, "shape " + text(gradient.shape) + "; expected " + text(tensor->shape) +
                               ", as the " + own);
    if (gradient.dtype != tensor->dtype && gradient.dtype != DType::kFloat32) {
      return invalid(name, std::string("dtype ") + name_of(gradient.dtype) + "; expected " +
                               name_of(tensor->dtype) + ", as the " + own +
                               (tensor->dtype == DType::kFloat32 ? "" : ", or float32"));
    }
  }
  if (n == gradients.size()) return {};
  return invalid("d_modifiers", std::to_string(gradients.size()) + " gradients; " +
                                    std::to_string(n) + " of the modifiers can have one");
}

}  // namespace regard
