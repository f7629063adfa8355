#include <cmath>
#include <limits>
#include <string>

#include "core/check_view.h"
#include "core/element.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

class Around final : public MaskNode {
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

  void intervals(const Place& place, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    const std::int64_t len_k = place.sequence->len_k;
    thread_local std::vector<Range> rows;
    rows.clear();
    Range all{0, static_cast<std::int32_t>(len_k)};
    for (std::int64_t i = i0; i < i1; ++i) {
      const Range row = range(place, i);
      all = {std::max(all.begin, row.begin), std::min(all.end, row.end)};
      if (row.begin < std::min<std::int64_t>(row.end, len_k)) rows.push_back(row);
    }
    std::sort(rows.begin(), rows.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (std::size_t r = 0; r < rows.size();) {
      std::int64_t end = rows[r].end;
      const std::int64_t begin = rows[r].begin;
      for (++r; r < rows.size() && rows[r].begin <= end; ++r)
        end = std::max<std::int64_t>(end, rows[r].end);
      end = std::min(end, len_k);
      // Where all rows see something together, this is the only stretch.
      if (all.begin < all.end) {
        append(out, begin, all.begin, false);
        append(out, all.begin, all.end, true);
        append(out, all.end, end, false);
      } else {
        append(out, begin, end, false);
      }
    }
  }

  std::uint64_t bits(const Place& place, std::int64_t i, std::int64_t j0) const override {
    const Range row = range(place, i);
    return range_bits(row.begin, row.end, j0);
  }

  bool stretch(const Place& place, std::int64_t i, std::int64_t* begin,
               std::int64_t* end) const override {
    const Range row = range(place, i);
    *begin = row.begin;
    *end = row.end;
    return true;
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

  Range range(const Place& place, std::int64_t i) const {
    const auto along = [this](std::size_t axis, std::int64_t index) {
      return centres_.shape[axis] == 1 ? 0 : index;
    };
    const std::int64_t line =
        along(0, place.sequence->batch) * centres_.shape[1] + along(1, place.head);
    return ranges_[static_cast<std::size_t>(line * centres_.shape[2] +
                                            along(2, place.sequence->q_begin + i))];
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
