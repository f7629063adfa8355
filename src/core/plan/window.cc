#include <string>

#include "core/plan/bounded.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

class Window final : public MaskNode {
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

  void intervals(const Place& place, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    const Sequence& sequence = *place.sequence;
    const auto [low, high] = bounds(sequence.offset);
    const std::int64_t last = i1 - 1;
    // Row i sees [i + low, i + high). Rows step by one key, so that what any row sees is one
    // stretch, and what all see another.
    const std::int64_t begin = std::max<std::int64_t>(i0 + low, 0),
                       end = std::min(last + high, sequence.len_k);
    const std::int64_t all_begin = std::max(last + low, begin), all_end = std::min(i0 + high, end);
    if (all_begin >= all_end) {
      append(out, begin, end, false);
      return;
    }
    append(out, begin, all_begin, false);
    append(out, all_begin, all_end, true);
    append(out, all_end, end, false);
  }

  std::uint64_t bits(const Place& place, std::int64_t i, std::int64_t j0) const override {
    const auto [low, high] = bounds(place.sequence->offset);
    return range_bits(i + low, i + high, j0);
  }

  void words(const Place& place, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override {
    const auto [low, high] = bounds(place.sequence->offset);
    for (int r = 0; r < rows; ++r) words[r] = range_bits(i + r + low, i + r + high, j0);
  }

  bool stretch(const Place& place, std::int64_t i, std::int64_t* begin,
               std::int64_t* end) const override {
    const auto [low, high] = bounds(place.sequence->offset);
    *begin = i + low;
    *end = i + high;
    return true;
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
