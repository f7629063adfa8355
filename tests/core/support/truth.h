// SPDX-License-Identifier: Apache-2.0
// What a layout must fulfil, against the formula of its mask, pair by pair.
#pragma once

#include <string>

#include "core/plan/layout.h"
#include "tests/core/support/rule.h"

namespace regard::testing {

// Empty when the layout tells the truth about the rule (owners, intervals, bits), otherwise the
// first lie.
std::string first_lie(const plan::Layout& layout, const Rule& rule);

// Builds a layout of the rule's mask; a test failure, with what `name` says, where that fails or
// the layout lies.
void expect_truth(const Rule& rule, const PlanShape& shape, const std::string& name = "");

}  // namespace regard::testing
