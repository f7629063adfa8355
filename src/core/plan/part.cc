// SPDX-License-Identifier: Apache-2.0
#include "core/plan/part.h"

#include <string>

#include "core/check_view.h"
#include "core/plan/interval_list.h"

namespace regard::plan {
namespace {

// Rows [begin, begin + size) of a sequence, which stand at row `at` of the part's tensor.
struct RowsOfPart {
  std::int64_t begin, size, at;
};

RowsOfPart overlap(std::int64_t sequence_begin, std::int64_t sequence_size, std::int64_t part_begin,
                   std::int64_t part_size) {
  const std::int64_t begin =
      std::clamp<std::int64_t>(part_begin - sequence_begin, 0, sequence_size);
  const std::int64_t end =
      std::clamp(part_begin + part_size - sequence_begin, begin, sequence_size);
  return {begin, end - begin, end > begin ? sequence_begin + begin - part_begin : 0};
}

class MaskOfPart final : public MaskNode {
 public:
  explicit MaskOfPart(std::shared_ptr<const MaskNode> whole) : whole_(std::move(whole)) {}

  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    const Sequence& own = *context.sequence;
    thread_local std::vector<Interval> found;
    found.clear();
    whole_->intervals({own.whole, context.head}, i0 + own.i_begin, i1 + own.i_begin, found);
    for (const Interval& interval : found) {
      append(out, std::max<std::int64_t>(interval.begin - own.j_begin, 0),
             std::min(interval.end - own.j_begin, own.len_k), interval.full);
    }
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    const Sequence& own = *context.sequence;
    return whole_->bits({own.whole, context.head}, i + own.i_begin, j0 + own.j_begin);
  }

  void words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
             std::uint64_t* words) const override {
    const Sequence& own = *context.sequence;
    whole_->words({own.whole, context.head}, i + own.i_begin, rows, j0 + own.j_begin, words);
  }

  bool varies_by_head() const override { return whole_->varies_by_head(); }
  bool varies_by_batch() const override { return whole_->varies_by_batch(); }
  bool varies_by_position() const override { return whole_->varies_by_position(); }
  int size() const override { return whole_->size(); }

 private:
  std::shared_ptr<const MaskNode> whole_;
};

}  // namespace

Status check_part(const Part& part, std::int64_t len_q, std::int64_t len_k) {
  const auto check = [](const char* rows, std::int64_t begin, std::int64_t size,
                        std::int64_t whole) -> Status {
    if (whole < 0 || whole > kMaxSize) {
      return Status::invalid(std::string("part: a whole of ") + std::to_string(whole) + " " + rows +
                             "; expected 0 to " + std::to_string(kMaxSize));
    }
    if (begin >= 0 && size <= whole && begin <= whole - size) return {};
    return Status::invalid(std::string("part: ") + std::to_string(size) + " " + rows + " from " +
                           std::to_string(begin) + " on; expected them inside the whole's " +
                           std::to_string(whole));
  };
  Status status = check("queries", part.query_begin, len_q, part.len_q);
  return status.ok() ? check("keys", part.key_begin, len_k, part.len_k) : status;
}

void cut(const Part& part, const PlanShape& shape, const std::vector<Sequence>& whole,
         std::vector<Sequence>& sequences) {
  for (const Sequence& sequence : whole) {
    const RowsOfPart queries =
        overlap(sequence.q_begin, sequence.len_q, part.query_begin, shape.len_q);
    const RowsOfPart keys = overlap(sequence.k_begin, sequence.k_rows, part.key_begin, shape.len_k);
    if (queries.size == 0 && keys.size == 0) continue;
    const std::int64_t visible =
        std::clamp<std::int64_t>(sequence.len_k - keys.begin, 0, keys.size);
    sequences.push_back({sequence.batch, queries.at, keys.at, queries.size, visible, keys.size,
                         sequence.offset, queries.begin, keys.begin, &sequence});
  }
}

std::shared_ptr<const MaskNode> mask_of_part(std::shared_ptr<const MaskNode> whole) {
  return std::make_shared<MaskOfPart>(std::move(whole));
}

}  // namespace regard::plan
