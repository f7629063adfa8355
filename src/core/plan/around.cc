// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>

#include "core/check_view.h"
#include "core/element.h"
#include "core/plan/row_range.h"

namespace regard {
namespace plan {
namespace {

class Around final : public RowRangeMask<Around> {
 public:
  Around(const TensorView& centres, std::int64_t width) : centres_(centres), width_(width) {}

  Status check(const PlanShape& shape) const override {
    if (width_ < 0)
      return Status::invalid("around: width " + std::to_string(width_) +
                             "; expected a count of keys on each side, from 0");
    Status status = check_view("around: centres", centres_);
    if (!status.ok()) return status;
    if (!is_floating(centres_.dtype)) {
      return Status::invalid(std::string("around: centres have dtype ") + name_of(centres_.dtype) +
                             "; expected a floating one");
    }
    const Shape full{shape.batch, shape.heads, shape.len_q, 1};
    if (broadcasts(centres_.shape, full)) return status;
    return Status::invalid("around: centres of shape " + text(centres_.shape) +
                           " do not broadcast to (batch, heads, len_q, 1) " + text(full));
  }

  std::shared_ptr<const MaskNode> bind(const PlanShape&) const override {
    auto bound = std::make_shared<Around>(*this);
    bound->read();
    return bound;
  }

  static constexpr bool kRises = false;
  RowRange range(const MaskContext& context, std::int64_t i) const {
    const auto along = [this](std::size_t axis, std::int64_t index) {
      return centres_.shape[axis] == 1 ? 0 : index;
    };
    const std::int64_t line =
        along(0, context.sequence->batch) * centres_.shape[1] + along(1, context.head);
    const Range& row = ranges_[static_cast<std::size_t>(line * centres_.shape[2] +
                                                        along(2, context.sequence->q_begin + i))];
    return {row.begin, row.end};
  }

  bool varies_by_head() const override { return centres_.shape[1] > 1; }
  bool varies_by_batch() const override { return centres_.shape[0] > 1; }
  bool varies_by_position() const override { return centres_.shape[2] > 1; }

 private:
  // Keys that a row sees, half open, from 0 on.
  struct Range {
    std::int32_t begin, end;
  };

  void read() {
    const Shape& size = centres_.shape;
    ranges_.reserve(static_cast<std::size_t>(size[0] * size[1] * size[2]));
    for (std::int64_t b = 0; b < size[0]; ++b) {
      for (std::int64_t h = 0; h < size[1]; ++h) {
        for (std::int64_t i = 0; i < size[2]; ++i)
          ranges_.push_back(range_around(load(centres_, b, h, i, 0)));
      }
    }
  }

  Range range_around(double centre) const {
    const auto width = static_cast<double>(width_),
               most = static_cast<double>(std::numeric_limits<std::int32_t>::max());
    const double first = std::ceil(centre - width), last = std::floor(centre + width);
    if (!(last >= 0 && first <= most)) return {0, 0};  // NaN too
    return {static_cast<std::int32_t>(std::max(first, 0.0)),
            static_cast<std::int32_t>(std::min(last + 1, most))};
  }

  TensorView centres_;
  std::int64_t width_;
  std::vector<Range> ranges_;  // only in the copy that bind() makes; (batch, heads, len_q) as the
                               // centres have them
};

}  // namespace
}  // namespace plan

Mask around(TensorView centres, std::int64_t width) {
  return Mask(std::make_shared<plan::Around>(centres, width));
}

}  // namespace regard
