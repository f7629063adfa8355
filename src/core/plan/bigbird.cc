// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "core/check_view.h"
#include "core/plan/blocks.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

// The pattern before it knows the lengths: bind() makes Blocks of it.
class BigBirdMask final : public MaskNode {
 public:
  explicit BigBirdMask(const BigBird& pattern) : pattern_(pattern) {}

  Status check(const PlanShape&) const override {
    for (const auto& [name, value, least] : {Count{"block", pattern_.block, 1},
                                             {"window", pattern_.window, 0},
                                             {"global", pattern_.global, 0},
                                             {"random", pattern_.random, 0}}) {
      if (value < least || value > kMaxSize) {
        return Status::invalid(std::string("bigbird: ") + name + " is " + std::to_string(value) +
                               "; expected " + std::to_string(least) + " to " +
                               std::to_string(kMaxSize));
      }
    }
    return {};
  }

  std::shared_ptr<const MaskNode> bind(const PlanShape& shape) const override {
    const auto blocks = [this](std::int64_t length) {
      return (length + pattern_.block - 1) / pattern_.block;
    };
    BlockBits bits(
        {1, pattern_.random > 0 ? shape.heads : 1, blocks(shape.len_q), blocks(shape.len_k)});
    for (std::int64_t head = 0; head < bits.shape()[1]; ++head) {
      for (std::int64_t row = 0; row < bits.shape()[2]; ++row) fill_row(head, row, bits);
    }
    return std::make_shared<Blocks>(std::move(bits), pattern_.block, pattern_.block);
  }

  // Never evaluated: plans are made of what bind() gives.
  void intervals(const MaskContext&, std::int64_t, std::int64_t,
                 std::vector<Interval>&) const override {}
  std::uint64_t bits(const MaskContext&, std::int64_t, std::int64_t) const override { return 0; }

 private:
  struct Count {
    const char* name;
    std::int64_t value, least;
  };

  // Half of the global blocks, rounded up, stand at the front, the others at the back: neither is
  // in [front, back).
  struct Middle {
    std::int64_t front, back;
  };
  Middle middle(std::int64_t count) const {
    const std::int64_t front = std::min(pattern_.global - pattern_.global / 2, count);
    return {front, std::max(front, count - pattern_.global / 2)};
  }

  void fill_row(std::int64_t head, std::int64_t row, BlockBits& bits) const {
    const std::int64_t rows = bits.shape()[2], columns = bits.shape()[3];
    const auto set = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t column = begin; column < end; ++column) bits.set(0, head, row, column);
    };
    const Middle own = middle(rows), seen = middle(columns);
    if (row < own.front || row >= own.back) return set(0, columns);
    set(0, seen.front);
    set(seen.back, columns);
    // Bottom-right aligned, as causal is.
    const std::int64_t centre = row + columns - rows, first = centre - pattern_.window / 2;
    const std::int64_t begin = std::clamp(first, seen.front, seen.back),
                       end = std::clamp(first + pattern_.window, begin, seen.back);
    set(begin, end);
    // `random` of the blocks that are left, each choice as likely as any (Floyd's way: Bentley and
    // Floyd 1987).
    const std::int64_t left = (begin - seen.front) + (seen.back - end);
    thread_local std::vector<std::int64_t> chosen;
    chosen.clear();
    std::uint64_t state = mix(pattern_.seed ^ mix(static_cast<std::uint64_t>(head) << 32 |
                                                  static_cast<std::uint64_t>(row)));
    for (std::int64_t n = std::max<std::int64_t>(0, left - pattern_.random); n < left; ++n) {
      state = mix(state);
      const auto drawn = static_cast<std::int64_t>(state % static_cast<std::uint64_t>(n + 1));
      chosen.push_back(std::find(chosen.begin(), chosen.end(), drawn) == chosen.end() ? drawn : n);
      const std::int64_t column = seen.front + chosen.back();
      bits.set(0, head, row, column < begin ? column : column + end - begin);
    }
  }

  // splitmix64 (Steele, Lea and Flood 2014): a step of its counter, well mixed.
  static std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }

  BigBird pattern_;
};

}  // namespace
}  // namespace plan

Mask bigbird(const BigBird& pattern) { return Mask(std::make_shared<plan::BigBirdMask>(pattern)); }

}  // namespace regard
