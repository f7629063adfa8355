// SPDX-License-Identifier: Apache-2.0
// Packed sequences: a query sees the keys of its own document.
#pragma once

#include <utility>

#include "core/plan/mask_node.h"

namespace regard::plan {

// At the top of an expression Layout::build makes a Sequence of each document; elsewhere this is a
// mask like any other.
class Documents final : public MaskNode {
 public:
  Documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k)
      : cu_q_(std::move(cu_q)), cu_k_(std::move(cu_k)) {}

  Status check(const PlanShape& shape) const override;
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override;
  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override;

  // Adds batch entry `batch`, cut into documents: one sequence for each that is not empty, and one
  // for the rows past the last.
  void split(std::int32_t batch, const PlanShape& shape, std::vector<Sequence>& sequences) const;

 private:
  std::size_t document_of(std::int64_t row) const;

  std::vector<std::int64_t> cu_q_, cu_k_;
};

}  // namespace regard::plan
