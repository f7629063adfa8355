// SPDX-License-Identifier: Apache-2.0
#include "core/validate/apart.h"

#include <string>
#include <vector>

#include "core/return_if_error.h"
#include "core/validate/modifiers.h"
#include "core/validate/overlap.h"

namespace regard {
namespace {

using Written = std::span<const NamedView>;

Status check_options(Written written, const Options& options) {
  if (options.score) {
    REGARD_RETURN_IF_ERROR(check_apart(written, "score.v", options.score->v));
    REGARD_RETURN_IF_ERROR(
        check_apart(written, "score.prepared_keys", options.score->prepared_keys));
  }
  return check_modifiers_apart(written, options.modifiers);
}

}  // namespace

Status check_forward_apart(const Inputs& inputs, const Options& options, const Outputs& outputs) {
  const NamedView written[] = {{"out", outputs.out},
                               {"maximum", outputs.maximum},
                               {"log_sum", outputs.log_sum},
                               {"lse", outputs.lse}};
  const NamedView read[] = {{"key", inputs.k}, {"value", inputs.v}};
  REGARD_RETURN_IF_ERROR(check_apart(written, read));
  const bool in_place = same_view(inputs.q, as_const(outputs.out));
  REGARD_RETURN_IF_ERROR(
      check_apart(in_place ? Written(written).subspan(1) : written, "query", inputs.q));
  return check_options(written, options);
}

Status check_backward_apart(const BackwardInputs& inputs, const Options& options,
                            const Gradients& gradients) {
  std::vector<std::string> names;
  std::vector<NamedView> written;
  if (!gradients.d_modifiers.empty()) {
    names = names_of_gradients(options.modifiers);
    for (std::size_t n = 0; n < gradients.d_modifiers.size(); ++n)
      written.emplace_back(names[n].c_str(), gradients.d_modifiers[n]);
  }
  const NamedView of_inputs[] = {{"dq", gradients.dq},
                                 {"dk", gradients.dk},
                                 {"dv", gradients.dv},
                                 {"d_score_v", gradients.d_score_v}};
  const NamedView read[] = {{"query", inputs.q},         {"key", inputs.k},
                            {"value", inputs.v},         {"out", inputs.out},
                            {"maximum", inputs.maximum}, {"log_sum", inputs.log_sum},
                            {"d_out", inputs.d_out},     {"d_lse", inputs.d_lse}};
  REGARD_RETURN_IF_ERROR(check_apart(of_inputs, read));
  REGARD_RETURN_IF_ERROR(check_options(of_inputs, options));
  REGARD_RETURN_IF_ERROR(check_apart(written, read));
  REGARD_RETURN_IF_ERROR(check_apart(written, of_inputs));
  return check_options(written, options);
}

Status check_map_apart(const MapInputs& inputs, const Options& options, const char* name,
                       const MutableTensorView& answer, const MutableTensorView& keys,
                       const TensorView& row_weights) {
  const NamedView written[] = {{name, answer}, {"keys", keys}};
  const NamedView read[] = {{"query", inputs.q},
                            {"key", inputs.k},
                            {"maximum", inputs.maximum},
                            {"log_sum", inputs.log_sum},
                            {"row_weights", row_weights}};
  REGARD_RETURN_IF_ERROR(check_apart(written, read));
  return check_options(written, options);
}

Status check_merge_apart(const State& other, const State& into) {
  const NamedView written[] = {
      {"into.out", into.out}, {"into.maximum", into.maximum}, {"into.log_sum", into.log_sum}};
  const NamedView read[] = {
      {"other.out", other.out}, {"other.maximum", other.maximum}, {"other.log_sum", other.log_sum}};
  return check_apart(written, read);
}

Status check_merge_backward_apart(const State& part, const State& whole, const TensorView& d_out,
                                  const TensorView& d_lse, const StateGradients& gradients) {
  const NamedView written[] = {{"gradients.d_out", gradients.d_out},
                               {"gradients.d_lse", gradients.d_lse}};
  const NamedView read[] = {{"part.out", part.out},
                            {"part.maximum", part.maximum},
                            {"part.log_sum", part.log_sum},
                            {"whole.out", whole.out},
                            {"whole.maximum", whole.maximum},
                            {"whole.log_sum", whole.log_sum},
                            {"d_out", d_out},
                            {"d_lse", d_lse}};
  return check_apart(written, read);
}

}  // namespace regard
