// SPDX-License-Identifier: Apache-2.0
// Tokens that see everything and are seen by all.
#pragma once

#include <optional>

#include "core/plan/mask_node.h"

namespace regard::plan {

class GlobalTokens final : public MaskNode {
 public:
  GlobalTokens(std::vector<std::vector<std::int64_t>> tokens, bool by_batch,
               std::optional<std::int64_t> offset);

  Status check(const PlanShape& shape) const override;
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override;
  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override;
  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override;
  bool varies_by_batch() const override { return tokens_.size() > 1; }

  // Sorted, each once.
  const std::vector<std::int64_t>& tokens(const MaskContext& context) const;
  std::int64_t offset(const MaskContext& context) const {
    return offset_.value_or(context.sequence->offset);
  }
  bool is_global(const MaskContext& context, std::int64_t i) const;

 private:
  std::vector<std::vector<std::int64_t>> tokens_;
  bool by_batch_;
  std::optional<std::int64_t> offset_;
};

}  // namespace regard::plan
