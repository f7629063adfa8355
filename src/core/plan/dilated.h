// SPDX-License-Identifier: Apache-2.0
// A window that sees every n-th key only.
#pragma once

#include <optional>
#include <utility>

#include "core/plan/mask_node.h"

namespace regard::plan {

class Dilated final : public MaskNode {
 public:
  Dilated(std::int64_t left, std::int64_t right, std::vector<std::int64_t> dilations,
          std::optional<std::int64_t> offset)
      : left_(left), right_(right), dilations_(std::move(dilations)), offset_(offset) {}

  Status check(const PlanShape& shape) const override;
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override;
  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override;
  bool varies_by_head() const override { return dilations_.size() > 1; }

  // What row 0 sees: keys j in [low, high) with j = residue (mod step). Row i sees the same, i keys
  // later.
  struct Comb {
    std::int64_t low, high, residue, step;
  };
  Comb comb(const MaskContext& context) const;
  std::int64_t dilation(std::int32_t head) const {
    return dilations_[dilations_.size() == 1 ? 0 : static_cast<std::size_t>(head)];
  }

 private:
  std::int64_t left_, right_;
  std::vector<std::int64_t> dilations_;
  std::optional<std::int64_t> offset_;
};

}  // namespace regard::plan
