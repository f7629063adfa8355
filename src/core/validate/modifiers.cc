// SPDX-License-Identifier: Apache-2.0
#include "core/validate/modifiers.h"

#include <array>
#include <string>

#include "core/check_view.h"
#include "core/modifiers/modifiers.h"
#include "core/return_if_error.h"

namespace regard {
namespace {

Status invalid(const std::string& name, const std::string& what) {
  return Status::invalid(name + ": " + what);
}

// "bias", or with more than one of them "bias[1]".
class Names {
 public:
  std::string next(const Modifier& modifier) {
    const std::size_t n = met_[modifier.index()]++;
    return modifiers::facts_of(modifier).name +
           (n == 0 ? std::string() : "[" + std::to_string(n) + "]");
  }

 private:
  std::array<std::size_t, std::variant_size_v<Modifier>> met_{};
};

}  // namespace

Status check_modifiers(const std::vector<Modifier>& all, const Shape& scores, DType own) {
  if (all.empty()) return {};
  Names names;
  std::array<bool, std::variant_size_v<Modifier>> met{};
  for (const Modifier& modifier : all) {
    REGARD_RETURN_IF_ERROR(modifiers::check(names.next(modifier), modifier, scores, own));
    const modifiers::Facts facts = modifiers::facts_of(modifier);
    if (met[modifier.index()] && facts.at_most_once)
      return invalid(facts.name, "given twice; expected at most one");
    met[modifier.index()] = true;
  }
  return {};
}

Status check_modifier_gradients(const std::vector<MutableTensorView>& gradients,
                                const std::vector<Modifier>& all) {
  Names names;
  std::size_t n = 0;
  for (const Modifier& modifier : all) {
    const std::string own = names.next(modifier), name = "d_" + own;
    if (const auto* function = std::get_if<Function>(&modifier);
        function != nullptr && function->derive == nullptr) {
      return invalid(own, "derive is null; the backward pass needs it");
    }
    const TensorView* tensor = modifiers::facts_of(modifier).tensor;
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

std::vector<std::string> names_of_gradients(const std::vector<Modifier>& all) {
  Names names;
  std::vector<std::string> of_gradients;
  for (const Modifier& modifier : all) {
    const std::string own = names.next(modifier);
    if (modifiers::facts_of(modifier).tensor != nullptr) of_gradients.push_back("d_" + own);
  }
  return of_gradients;
}

Status check_modifiers_apart(std::span<const NamedView> written, const std::vector<Modifier>& all) {
  Names names;
  for (const Modifier& modifier : all) {
    const TensorView* tensor = modifiers::facts_of(modifier).tensor;
    if (tensor == nullptr) continue;
    const std::string name = names.next(modifier);
    REGARD_RETURN_IF_ERROR(check_apart(written, name, *tensor));
    const auto* relative = std::get_if<RelativeBias>(&modifier);
    if (relative == nullptr) continue;
    REGARD_RETURN_IF_ERROR(check_apart(written, name + ".query_code", relative->query_code));
    REGARD_RETURN_IF_ERROR(check_apart(written, name + ".key_code", relative->key_code));
    REGARD_RETURN_IF_ERROR(check_apart(written, name + ".buckets", relative->buckets));
  }
  return {};
}

}  // namespace regard
