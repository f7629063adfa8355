// SPDX-License-Identifier: Apache-2.0
#include "core/plan/row_order.h"

namespace regard::plan {

void AxisOrder::make(std::int64_t rows, std::int64_t all, std::int64_t step,
                     const std::vector<std::int64_t>& front) {
  rows_.clear();
  rows_.reserve(static_cast<std::size_t>(all));
  front_of_.assign(static_cast<std::size_t>(step), {});
  class_begin_.assign(1, static_cast<std::int64_t>(front.size()));
  for (const std::int64_t row : front) {
    rows_.push_back(static_cast<std::int32_t>(row));
    front_of_[static_cast<std::size_t>(row % step)].push_back(row);
  }
  for (std::int64_t c = 0; c < step; ++c) {
    auto skipped = front_of_[static_cast<std::size_t>(c)].begin();
    const auto last = front_of_[static_cast<std::size_t>(c)].end();
    for (std::int64_t row = c; row < rows; row += step) {
      if (skipped != last && *skipped == row) {
        ++skipped;
      } else {
        rows_.push_back(static_cast<std::int32_t>(row));
      }
    }
    class_begin_.push_back(static_cast<std::int64_t>(rows_.size()));
  }
  for (std::int64_t row = rows; row < all; ++row) rows_.push_back(static_cast<std::int32_t>(row));
}

bool AxisOrder::changes_nothing() const {
  for (std::size_t place = 0; place < rows_.size(); ++place) {
    if (rows_[place] != static_cast<std::int32_t>(place)) return false;
  }
  return true;
}

std::int64_t AxisOrder::place(std::int64_t c, std::int64_t row) const {
  const std::int64_t begin = class_begin(c), end = class_begin(c + 1), step = classes();
  if (row <= c) return begin;
  const std::vector<std::int64_t>& front = front_of_[static_cast<std::size_t>(c)];
  const std::int64_t steps =
      step == 1 ? row - c
                : (row - c + step - 1) / step;  // a division takes longer than all the rest
  const std::int64_t before =
      steps - (std::lower_bound(front.begin(), front.end(), row) - front.begin());
  return std::min(begin + before, end);
}

}  // namespace regard::plan
