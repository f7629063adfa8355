// SPDX-License-Identifier: Apache-2.0
// Rows taken in another order, in which those that see the same keys stand side by side: global
// tokens first, then every step-th row from row 0, from row 1, and so on. A window of every step-th
// key is then `step` windows without gaps, and global tokens fill tiles of their own.
//
// A place is where a row stands in that order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace regard::plan {

class AxisOrder {
 public:
  // Orders rows [0, rows); those behind them, to [rows, all), stay. `front`: sorted, in [0, rows).
  void make(std::int64_t rows, std::int64_t all, std::int64_t step,
            const std::vector<std::int64_t>& front);

  // The row of each place.
  const std::vector<std::int32_t>& rows() const { return rows_; }
  std::int64_t row(std::int64_t place) const { return rows_[static_cast<std::size_t>(place)]; }
  bool changes_nothing() const;

  // Places before this one are the front's.
  std::int64_t front() const { return class_begin_[0]; }
  // How many rows of the front come before `row`.
  std::int64_t front_place(std::int64_t row) const {
    return std::lower_bound(rows_.begin(), rows_.begin() + front(), row) - rows_.begin();
  }

  // Class c holds the rows c, c + step, ... that are not in front, at places [class_begin(c),
  // class_begin(c + 1)).
  std::int64_t classes() const { return static_cast<std::int64_t>(class_begin_.size()) - 1; }
  std::int64_t class_begin(std::int64_t c) const {
    return class_begin_[static_cast<std::size_t>(c)];
  }
  // The class that holds a place behind the front, or the first to hold one from there on.
  std::int64_t class_at(std::int64_t place) const {
    return std::max<std::int64_t>(
        std::upper_bound(class_begin_.begin(), class_begin_.end(), place) - class_begin_.begin() -
            1,
        0);
  }
  // The place of the first row of class c that is not before `row`.
  std::int64_t place(std::int64_t c, std::int64_t row) const;

 private:
  std::vector<std::int32_t> rows_;
  std::vector<std::int64_t> class_begin_;            // one more than there are classes
  std::vector<std::vector<std::int64_t>> front_of_;  // the front's rows, by class
};

struct RowOrder {
  AxisOrder queries, keys;
};

}  // namespace regard::plan
