// SPDX-License-Identifier: Apache-2.0
// Two interval lists become one.
#pragma once

#include <deque>

#include "core/plan/interval_list.h"

namespace regard::plan {

// Interval lists for intermediate results, kept by the thread: planning allocates nothing once they
// have their capacity.
class BorrowedIntervals {
 public:
  BorrowedIntervals() : list_(take()) { list_.clear(); }
  ~BorrowedIntervals() { --used(); }
  BorrowedIntervals(const BorrowedIntervals&) = delete;
  BorrowedIntervals& operator=(const BorrowedIntervals&) = delete;
  std::vector<Interval>& operator*() { return list_; }

 private:
  static std::size_t& used() {
    thread_local std::size_t count = 0;
    return count;
  }
  static std::vector<Interval>& take() {
    thread_local std::deque<std::vector<Interval>> lists;
    if (used() == lists.size()) lists.emplace_back();
    return lists[used()++];
  }

  std::vector<Interval>& list_;
};

// Reads an interval list from left to right, gaps included.
class Cursor {
 public:
  Cursor(const std::vector<Interval>& list, std::int64_t len_k)
      : next_(list.data()), last_(list.data() + list.size()), len_k_(len_k) {}

  // What is seen at `key`, which never falls from one call to the next, and the key where that
  // ends.
  Seen at(std::int64_t key, std::int64_t* end) {
    while (next_ != last_ && next_->end <= key) ++next_;
    if (next_ == last_ || key < next_->begin) {
      *end = next_ == last_ ? len_k_ : next_->begin;
      return Seen::kAbsent;
    }
    *end = next_->end;
    return next_->full ? Seen::kFull : Seen::kPartial;
  }

 private:
  const Interval *next_, *last_;
  std::int64_t len_k_;
};

// The intervals of keys [0, len_k) where choose(what a sees, what b sees) is not Seen::kAbsent.
template <typename Choose>
void combine(const std::vector<Interval>& a, const std::vector<Interval>& b, std::int64_t len_k,
             Choose choose, std::vector<Interval>& out) {
  Cursor left(a, len_k), right(b, len_k);
  for (std::int64_t key = 0, end; key < len_k; key = end) {
    std::int64_t left_end, right_end;
    const Seen in_a = left.at(key, &left_end), in_b = right.at(key, &right_end);
    end = std::min(left_end, right_end);
    if (const Seen seen = choose(in_a, in_b); seen != Seen::kAbsent)
      append(out, key, end, seen == Seen::kFull);
  }
}

}  // namespace regard::plan
