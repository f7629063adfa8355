// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <utility>

#include "core/plan/bounded.h"
#include "core/plan/row_range.h"

namespace regard {
namespace plan {
namespace {

class Prefix final : public RowRangeMask<Prefix> {
 public:
  Prefix(std::vector<std::int64_t> lengths, std::optional<std::int64_t> offset)
      : lengths_(std::move(lengths)), offset_(offset) {}

  Status check(const PlanShape& shape) const override {
    if (static_cast<std::int64_t>(lengths_.size()) != shape.batch) {
      return Status::invalid("prefix: " + std::to_string(lengths_.size()) +
                             " lengths; expected one for each of " + std::to_string(shape.batch) +
                             " batch entries");
    }
    for (std::size_t b = 0; b < lengths_.size(); ++b) {
      if (lengths_[b] < 0 || lengths_[b] > shape.len_k) {
        return Status::invalid("prefix: length " + std::to_string(lengths_[b]) +
                               " of batch entry " + std::to_string(b) + "; expected 0 to " +
                               std::to_string(shape.len_k) + ", the keys there are");
      }
    }
    return {};
  }

  static constexpr bool kRises = true;
  RowRange range(const MaskContext& context, std::int64_t i) const {
    const std::int64_t prefix = lengths_[static_cast<std::size_t>(context.sequence->batch)];
    return {0, std::max(prefix, bounded_sum(i + 1, offset_.value_or(context.sequence->offset)))};
  }

  bool varies_by_batch() const override { return true; }

 private:
  std::vector<std::int64_t> lengths_;
  std::optional<std::int64_t> offset_;
};

}  // namespace
}  // namespace plan

Mask prefix(std::vector<std::int64_t> lengths, std::optional<std::int64_t> offset) {
  return Mask(std::make_shared<plan::Prefix>(std::move(lengths), offset));
}

}  // namespace regard
