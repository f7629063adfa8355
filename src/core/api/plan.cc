// SPDX-License-Identifier: Apache-2.0
#include "regard/plan.h"

#include <algorithm>
#include <new>

#include "core/plan/layout.h"

namespace regard {
namespace {

// What one line of a picture knows of each of its cells so far.
class PictureLine {
 public:
  PictureLine(std::int64_t len_k, std::int64_t columns)
      : len_k_(len_k),
        full_pairs_(static_cast<std::size_t>(columns)),
        touched_(full_pairs_.size()) {}

  void add(std::int64_t begin, std::int64_t end, bool full, std::int64_t rows) {
    for (std::int64_t c = column_of(begin); c < columns() && edge(c) < end; ++c) {
      const std::int64_t keys = std::min(end, edge(c + 1)) - std::max(begin, edge(c));
      if (full) full_pairs_[static_cast<std::size_t>(c)] += rows * keys;
      touched_[static_cast<std::size_t>(c)] = true;
    }
  }

  std::string text(std::int64_t rows) const {
    std::string line;
    for (std::size_t c = 0; c < touched_.size(); ++c) {
      const auto column = static_cast<std::int64_t>(c);
      const bool full = full_pairs_[c] == rows * (edge(column + 1) - edge(column));
      line += !touched_[c] ? '.' : full ? '#' : '+';
    }
    return line + '\n';
  }

 private:
  std::int64_t columns() const { return static_cast<std::int64_t>(touched_.size()); }
  std::int64_t edge(std::int64_t column) const { return column * len_k_ / columns(); }
  std::int64_t column_of(std::int64_t key) const {
    std::int64_t column = key * columns() / len_k_;
    while (edge(column + 1) <= key) ++column;
    return column;
  }

  std::int64_t len_k_;
  std::vector<std::int64_t> full_pairs_;
  std::vector<bool> touched_;
};

}  // namespace

Status Plan::make(const Mask& mask, const PlanShape& shape, Plan* plan,
                  const std::optional<Part>& part) {
  try {
    auto layout = std::make_shared<plan::Layout>();
    Status status = layout->build(mask, shape, part);
    if (!status.ok()) return status;
    plan->shape_ = shape;
    plan->part_ = part;
    plan->layout_ = std::move(layout);
    return status;
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "plan: no memory"};
  }
}

double Plan::density() const {
  if (layout_ == nullptr) return 0;
  const auto& [batch, heads, len_q, len_k] = shape_;
  const double all = static_cast<double>(batch) * static_cast<double>(heads) *
                     static_cast<double>(len_q) * static_cast<double>(len_k);
  if (all == 0) return 0;
  const plan::Layout& layout = layout_->ordered() != nullptr ? *layout_->ordered() : *layout_;
  double pairs = 0;
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const std::int64_t rows = layout.sequences[s].len_q;
    for (std::int32_t h = 0; h < layout.mask_heads; ++h) {
      for (std::int64_t u = 0; u < layout.units(s); ++u) {
        std::int64_t keys = 0;
        for (const plan::Interval& interval : layout.unit(s, h, u))
          keys += interval.end - interval.begin;
        pairs += static_cast<double>(std::min(plan::kRowUnit, rows - u * plan::kRowUnit) * keys);
      }
    }
  }
  return pairs * static_cast<double>(heads) / layout.mask_heads / all;
}

std::string Plan::picture(std::int64_t batch, std::int64_t head, int width) const {
  const bool exists =
      layout_ != nullptr && batch >= 0 && batch < shape_.batch && head >= 0 && head < shape_.heads;
  if (!exists || shape_.len_q == 0 || shape_.len_k == 0) return {};
  const std::int64_t columns = std::min<std::int64_t>(std::clamp(width, 1, 1024), shape_.len_k);
  // One character for each pair where they fit; beyond that half as many lines, as characters are
  // twice as high as wide.
  const std::int64_t squares = columns * shape_.len_q / shape_.len_k;
  const std::int64_t lines = std::clamp<std::int64_t>(
      columns == shape_.len_k ? squares : squares / 2, 1, std::min(columns * 4, shape_.len_q));
  std::string drawing;
  std::vector<plan::Interval> found;
  for (std::int64_t n = 0; n < lines; ++n) {
    const std::int64_t begin = n * shape_.len_q / lines, end = (n + 1) * shape_.len_q / lines;
    PictureLine line(shape_.len_k, columns);
    for (const plan::Sequence& sequence : layout_->sequences) {
      const std::int64_t first = std::max(begin, sequence.q_begin),
                         last = std::min(end, sequence.q_begin + sequence.len_q);
      if (sequence.batch != batch || first >= last || sequence.len_k == 0) continue;
      found.clear();
      if (layout_->mask == nullptr) {
        found.push_back({0, static_cast<std::int32_t>(sequence.len_k), true});
      } else {
        const plan::MaskContext context{&sequence,
                                        layout_->mask_head(static_cast<std::int32_t>(head))};
        layout_->mask->intervals(context, first - sequence.q_begin, last - sequence.q_begin, found);
      }
      for (const plan::Interval& interval : found) {
        line.add(sequence.k_begin + interval.begin, sequence.k_begin + interval.end, interval.full,
                 last - first);
      }
    }
    drawing += line.text(end - begin);
  }
  return drawing;
}

}  // namespace regard
