// SPDX-License-Identifier: Apache-2.0
// Sequences and masks of a part, made from those of the whole attention that it belongs to.
#pragma once

#include <memory>
#include <vector>

#include "core/plan/mask_node.h"
#include "regard/part.h"

namespace regard::plan {

// Whether tensors of these lengths lie inside the whole.
Status check_part(const Part& part, std::int64_t len_q, std::int64_t len_k);

// Adds the ranges of `whole` that lie in the part, whose tensors have the lengths of `shape`.
// They point into `whole`.
void cut(const Part& part, const PlanShape& shape, const std::vector<Sequence>& whole,
         std::vector<Sequence>& sequences);

// A mask of the whole, evaluated by rows and keys of such ranges.
std::shared_ptr<const MaskNode> mask_of_part(std::shared_ptr<const MaskNode> whole);

}  // namespace regard::plan
