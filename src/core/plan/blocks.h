// SPDX-License-Identifier: Apache-2.0
// Which blocks of a block-sparse mask exist, as bits.
#pragma once

#include <array>
#include <utility>

#include "core/plan/mask_node.h"

namespace regard::plan {

// A bit for each block of keys, (batch, heads, rows of blocks, columns of blocks); batch and heads
// may be 1 for all.
class BlockBits {
 public:
  BlockBits() = default;
  explicit BlockBits(const Shape& shape)
      : shape_(shape),
        line_words_((shape[3] + 63) / 64 +
                    1),  // one more, so that whole words may be read from any column
        words_(static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * line_words_)) {}

  const Shape& shape() const { return shape_; }
  void set(std::int64_t b, std::int64_t h, std::int64_t row, std::int64_t column) {
    words_[index(b, h, row) + static_cast<std::size_t>(column / 64)] |= std::uint64_t{1}
                                                                        << (column % 64);
  }
  // The words of one row of blocks; b and h may be those of an axis that is 1 here.
  const std::uint64_t* line(std::int64_t b, std::int64_t h, std::int64_t row) const {
    return words_.data() + index(shape_[0] == 1 ? 0 : b, shape_[1] == 1 ? 0 : h, row);
  }

 private:
  std::size_t index(std::int64_t b, std::int64_t h, std::int64_t row) const {
    return static_cast<std::size_t>(((b * shape_[1] + h) * shape_[2] + row) * line_words_);
  }

  Shape shape_{0, 0, 0, 0};
  std::int64_t line_words_ = 0;
  std::vector<std::uint64_t> words_;
};

class Blocks final : public MaskNode {
 public:
  // `fault`: what was wrong with the layout that the caller gave, told when the mask is used.
  Blocks(BlockBits bits, std::int64_t block_q, std::int64_t block_k, Status fault = {})
      : bits_(std::move(bits)), block_q_(block_q), block_k_(block_k), fault_(std::move(fault)) {}

  Status check(const PlanShape& shape) const override;
  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override;
  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override;
  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override;
  bool varies_by_head() const override { return bits_.shape()[1] > 1; }
  bool varies_by_batch() const override { return bits_.shape()[0] > 1; }
  bool varies_by_position() const override { return true; }

 private:
  const std::uint64_t* line(const MaskContext& context, std::int64_t block_row) const {
    return bits_.line(context.sequence->batch, context.head, block_row);
  }

  BlockBits bits_;
  std::int64_t block_q_, block_k_;
  Status fault_;
};

}  // namespace regard::plan
