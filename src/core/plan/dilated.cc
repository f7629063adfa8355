// SPDX-License-Identifier: Apache-2.0
#include "core/plan/dilated.h"

#include <string>

#include "core/check_view.h"
#include "core/plan/bounded.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {

Status Dilated::check(const PlanShape& shape) const {
  if (left_ < -1 || right_ < -1) {
    return Status::invalid("dilated: left " + std::to_string(left_) + ", right " +
                           std::to_string(right_) +
                           "; expected counts of keys, or -1 for no bound");
  }
  if (dilations_.size() != 1 && static_cast<std::int64_t>(dilations_.size()) != shape.heads) {
    return Status::invalid("dilated: " + std::to_string(dilations_.size()) +
                           " dilations; expected one, or one for each of " +
                           std::to_string(shape.heads) + " query heads");
  }
  for (const std::int64_t dilation : dilations_) {
    if (dilation < 1 || dilation > kMaxSize) {
      return Status::invalid("dilated: a dilation of " + std::to_string(dilation) +
                             "; expected 1 to " + std::to_string(kMaxSize));
    }
  }
  return {};
}

Dilated::Comb Dilated::comb(const MaskContext& context) const {
  const std::int64_t offset = offset_.value_or(context.sequence->offset);
  const std::int64_t step = dilation(context.head);
  return {left_ < 0 ? -kBeyond : bounded_sum(offset, -left_, step),
          right_ < 0 ? kBeyond : bounded_sum(offset, right_, step) + 1, modulo(offset, step), step};
}

void Dilated::intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                        std::vector<Interval>& out) const {
  const Comb row = comb(context);
  const std::int64_t last = i1 - 1, begin = std::max<std::int64_t>(i0 + row.low, 0),
                     end = std::min(last + row.high, context.sequence->len_k);
  const std::int64_t all_begin = std::max(last + row.low, begin),
                     all_end = std::min(i0 + row.high, end);
  if (row.step > 1 || all_begin >= all_end) {
    append(out, begin, end, false);
    return;
  }
  append(out, begin, all_begin, false);
  append(out, all_begin, all_end, true);
  append(out, all_end, end, false);
}

std::uint64_t Dilated::bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const {
  const Comb row = comb(context);
  const std::int64_t first =
      modulo(row.residue + i - j0, row.step);  // of the keys from j0 on that lie on the comb
  if (first >= 64) return 0;
  std::uint64_t teeth = 1;
  for (std::int64_t step = row.step; step < 64; step *= 2) teeth |= teeth << step;
  return teeth << first & range_bits(i + row.low, i + row.high, j0);
}

}  // namespace plan

Mask dilated(std::int64_t left, std::int64_t right, std::vector<std::int64_t> dilations,
             std::optional<std::int64_t> offset) {
  return Mask(std::make_shared<plan::Dilated>(left, right, std::move(dilations), offset));
}

Mask dilated(std::int64_t left, std::int64_t right, std::int64_t dilation,
             std::optional<std::int64_t> offset) {
  return dilated(left, right, std::vector<std::int64_t>{dilation}, offset);
}

}  // namespace regard
