// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/truth.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace regard::testing {

using plan::Interval;
using plan::kRowUnit;
using plan::Layout;
using plan::Sequence;

namespace {

// Whether the first `count` places hold the first `count` rows.
bool is_order(const std::int32_t* rows, std::int64_t count) {
  if (rows == nullptr) return true;
  std::vector<std::int32_t> sorted(rows, rows + count);
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t n = 0; n < count; ++n) {
    if (sorted[static_cast<std::size_t>(n)] != n) return false;
  }
  return true;
}

}  // namespace

std::string first_lie(const Layout& layout, const Rule& rule) {
  if (layout.ordered() != nullptr) {
    const std::string lie = first_lie(*layout.ordered(), rule);
    if (!lie.empty()) return "in another order: " + lie;
  }
  const PlanShape& shape = layout.shape;
  const auto row = [](const std::int32_t* rows, std::int64_t place) {
    return rows == nullptr ? place : rows[place];
  };
  // Of the rows at two places, in a layout that has an order of its own.
  const auto pair = [&](const Sequence& s, std::int32_t h, std::int64_t i, std::int64_t j) {
    const auto index = static_cast<std::size_t>(&s - layout.sequences.data());
    return allowed(rule, shape, s.batch, h, s.q_begin + row(layout.query_rows(index, h), i),
                   s.k_begin + row(layout.key_rows(index, h), j));
  };
  std::vector<int> query_owners(static_cast<std::size_t>(shape.batch * shape.len_q)),
      key_owners(static_cast<std::size_t>(shape.batch * shape.len_k));
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const Sequence& sequence = layout.sequences[s];
    const std::string where = "sequence " + std::to_string(s);
    if (sequence.len_k < 0 || sequence.len_k > sequence.k_rows)
      return where + " has len_k " + std::to_string(sequence.len_k);
    for (std::int64_t i = 0; i < sequence.len_q; ++i)
      ++query_owners.at(
          static_cast<std::size_t>(sequence.batch * shape.len_q + sequence.q_begin + i));
    for (std::int64_t j = 0; j < sequence.k_rows; ++j)
      ++key_owners.at(
          static_cast<std::size_t>(sequence.batch * shape.len_k + sequence.k_begin + j));

    for (std::int32_t h = 0; h < shape.heads; ++h) {
      if (!is_order(layout.query_rows(s, h), sequence.len_q))
        return where + ": rows are not each in one place";
      if (!is_order(layout.key_rows(s, h), sequence.len_k))
        return where + ": keys are not each in one place";
      if (!is_order(layout.key_rows(s, h), sequence.k_rows))
        return where + ": keys behind len_k are not each in one place";
      // Keys that no interval may speak of: other sequences', and those past len_k.
      for (std::int64_t i = 0; i < sequence.len_q; ++i) {
        for (std::int64_t key = 0; key < shape.len_k; ++key) {
          const bool mine = key >= sequence.k_begin && key < sequence.k_begin + sequence.len_k;
          if (!mine && allowed(rule, shape, sequence.batch, h, sequence.q_begin + i, key))
            return where + " leaves out key " + std::to_string(key);
        }
      }
      for (std::int64_t u = 0; u < layout.units(s); ++u) {
        const std::int64_t first = u * kRowUnit, last = std::min(first + kRowUnit, sequence.len_q);
        std::vector<int> kind(static_cast<std::size_t>(sequence.len_k), 0);
        std::int64_t reached = 0;
        bool last_full = false, touches = false;
        for (const Interval& interval : layout.unit(s, h, u)) {
          if (interval.begin < reached || interval.end <= interval.begin ||
              interval.end > sequence.len_k)
            return where + ": intervals out of order";
          if (touches && interval.begin == reached && interval.full == last_full)
            return where + ": neighbours of one kind";
          reached = interval.end;
          last_full = interval.full;
          touches = true;
          std::fill(kind.begin() + interval.begin, kind.begin() + interval.end,
                    interval.full ? 2 : 1);
        }
        for (std::int64_t j = 0; j < sequence.len_k; ++j) {
          for (std::int64_t i = first; i < last; ++i) {
            const bool seen = pair(sequence, h, i, j);
            const int said = kind[static_cast<std::size_t>(j)];
            if ((said == 2 && !seen) || (said == 0 && seen)) {
              return where + ", head " + std::to_string(h) + ": pair (" + std::to_string(i) + ", " +
                     std::to_string(j) + ") lies in kind " + std::to_string(said);
            }
          }
        }
      }
      // Bits, from aligned and odd places, beyond both ends.
      for (const std::int64_t start : {0, 1, 31, 32}) {
        for (std::int64_t j0 = start; j0 < sequence.len_k + 70; j0 += 64) {
          // A few rows from anywhere, and once all of them.
          for (std::int64_t i0 = -5; i0 < sequence.len_q; i0 += 5) {
            const int rows = static_cast<int>(i0 < 0 ? sequence.len_q
                                                     : std::min<std::int64_t>(sequence.len_q, 5)) +
                             2;
            const std::int64_t first = std::max<std::int64_t>(i0, 0);
            std::vector<std::uint64_t> words(static_cast<std::size_t>(rows), 0xdeadbeef);
            layout.bits(s, h, first, rows, j0, words.data());
            for (int r = 0; r < rows; ++r) {
              for (std::int64_t b = 0; b < 64; ++b) {
                const std::int64_t i = first + r, j = j0 + b;
                const bool seen =
                    i < sequence.len_q && j < sequence.len_k && pair(sequence, h, i, j);
                if (((words[static_cast<std::size_t>(r)] >> b & 1) != 0) != seen) {
                  return where + ", head " + std::to_string(h) + ": bit (" + std::to_string(i) +
                         ", " + std::to_string(j) + ") from j0 " + std::to_string(j0);
                }
              }
            }
          }
        }
      }
    }
  }
  if (std::any_of(query_owners.begin(), query_owners.end(), [](int n) { return n != 1; }))
    return "a query row without an owner, or with two";
  if (std::any_of(key_owners.begin(), key_owners.end(), [](int n) { return n != 1; }))
    return "a key row without an owner, or with two";
  return "";
}

void expect_truth(const Rule& rule, const PlanShape& shape, const std::string& name) {
  Layout layout;
  const Status status = layout.build(rule.mask, shape);
  ASSERT_TRUE(status.ok()) << name << ": " << status.message();
  EXPECT_EQ(first_lie(layout, rule), "") << name;
}

}  // namespace regard::testing
