// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "core/plan/bounded.h"
#include "core/plan/row_range.h"

namespace regard {
namespace plan {
namespace {

class Window final : public RowRangeMask<Window> {
 public:
  Window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset)
      : left_(left), right_(right), offset_(offset) {}

  Status check(const PlanShape&) const override {
    if (left_ >= -1 && right_ >= -1) return {};
    return Status::invalid("window: left " + std::to_string(left_) + ", right " +
                           std::to_string(right_) +
                           "; expected counts of keys, or -1 for no bound");
  }

  // A decoder's step under a causal mask, above all: its one query sees all keys.
  bool hides_nothing(const PlanShape& shape) const override {
    const auto [low, high] = bounds(shape.len_k - shape.len_q);
    return shape.len_q - 1 + low <= 0 && high >= shape.len_k;
  }

  // A row sees keys from `left` before its own to `right` behind it: rows step by one key.
  static constexpr bool kRises = true;
  RowRange range(const MaskContext& context, std::int64_t i) const {
    const auto [low, high] = bounds(context.sequence->offset);
    return {i + low, i + high};
  }

 private:
  struct Bounds {
    std::int64_t low, high;  // of row 0, half open
  };

  Bounds bounds(std::int64_t own_offset) const {
    const std::int64_t offset = offset_.value_or(own_offset);
    return {left_ < 0 ? -kBeyond : bounded_sum(offset, -left_),
            right_ < 0 ? kBeyond : bounded_sum(offset, right_) + 1};
  }

  std::int64_t left_, right_;
  std::optional<std::int64_t> offset_;
};

}  // namespace
}  // namespace plan

Mask window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset) {
  return Mask(std::make_shared<plan::Window>(left, right, offset));
}

}  // namespace regard
