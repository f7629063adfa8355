// SPDX-License-Identifier: Apache-2.0
#include "core/api/plan_for.h"

#include <algorithm>
#include <string>

#include "core/modifiers/modifiers.h"

namespace regard {
namespace {

std::string text(const PlanShape& s) {
  return "(batch " + std::to_string(s.batch) + ", heads " + std::to_string(s.heads) + ", len_q " +
         std::to_string(s.len_q) + ", len_k " + std::to_string(s.len_k) + ")";
}

// Whether a tile's rows and keys must be neighbours in the tensors: most modifiers look at
// positions, and so do additive scores where they compute pairs of a tile again.
bool looks_at_positions(const Options& options) {
  return options.score.has_value() ||
         std::any_of(options.modifiers.begin(), options.modifiers.end(),
                     [](const Modifier& m) { return modifiers::facts_of(m).looks_at_positions; });
}

std::string text(const std::optional<Part>& part) {
  if (!part) return "a whole attention";
  return "a part (query_begin " + std::to_string(part->query_begin) + ", key_begin " +
         std::to_string(part->key_begin) + ", len_q " + std::to_string(part->len_q) + ", len_k " +
         std::to_string(part->len_k) + ")";
}

}  // namespace

const plan::Layout& in_best_order(const plan::Layout& layout, const Options& options,
                                  const Inputs& inputs) {
  const plan::Layout* ordered = layout.ordered();
  const std::int64_t heads = inputs.q.shape[1], heads_kv = inputs.k.shape[1];
  if (ordered == nullptr || heads_kv == 0 || looks_at_positions(options)) return layout;
  return ordered->one_order_for_each(heads / heads_kv) ? *ordered : layout;
}

Status plan_for(const Options& options, const Inputs& inputs, const Plan* plan, plan::Layout& own,
                const plan::Layout** chosen) {
  const PlanShape shape{inputs.q.shape[0], inputs.q.shape[1], inputs.q.shape[2], inputs.k.shape[2]};
  if (plan == nullptr) {
    *chosen = &own;
    return own.build(options.mask, shape, options.part);
  }
  if (plan->layout() == nullptr) return Status::invalid("plan: is empty; make one with Plan::make");
  const PlanShape& made = plan->shape();
  if (made.batch != shape.batch || made.heads != shape.heads || made.len_q != shape.len_q ||
      made.len_k != shape.len_k) {
    return Status::invalid("plan: made for " + text(made) + ", the tensors have " + text(shape));
  }
  if (plan->part() != options.part) {
    return Status::invalid("plan: made for " + text(plan->part()) + ", the options ask for " +
                           text(options.part));
  }
  *chosen = plan->layout().get();
  return {};
}

}  // namespace regard
