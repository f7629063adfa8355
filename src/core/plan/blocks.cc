// SPDX-License-Identifier: Apache-2.0
#include "core/plan/blocks.h"

#include <bit>
#include <string>

#include "core/check_view.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

std::int64_t blocks_of(std::int64_t length, std::int64_t block) {
  return (length + block - 1) / block;
}

bool bit(const std::uint64_t* line, std::int64_t column) {
  return (line[column / 64] >> (column % 64) & 1) != 0;
}

enum Kind { kAbsent, kPartial, kFull };

// Lines of blocks read together: a column is absent, partial or full where none, some or all of
// them have it.
class Columns {
 public:
  Columns(const std::vector<const std::uint64_t*>& lines, std::int64_t count)
      : lines_(lines), count_(count) {}

  // The end of the run of columns of one kind that starts at `column`.
  std::int64_t end_of_run(std::int64_t column, Kind* kind) {
    bool first = true;
    while (column < count_) {
      read_word(column / 64);
      const auto shift = static_cast<int>(column % 64);
      if (first)
        *kind = (all_ >> shift & 1) != 0 ? kFull : (some_ >> shift & 1) != 0 ? kPartial : kAbsent;
      first = false;
      const std::uint64_t same = *kind == kFull ? all_ : *kind == kPartial ? some_ & ~all_ : ~some_;
      const int run = std::min(std::countr_one(same >> shift), 64 - shift);
      column += run;
      if (run < 64 - shift) break;
    }
    return std::min(column, count_);
  }

 private:
  // What some and all lines have of 64 columns: kept while the runs that are asked for lie in them.
  void read_word(std::int64_t word) {
    if (word == word_) return;
    word_ = word;
    some_ = 0, all_ = ~std::uint64_t{0};
    for (const std::uint64_t* line : lines_) {
      some_ |= line[word];
      all_ &= line[word];
    }
  }

  const std::vector<const std::uint64_t*>& lines_;
  std::int64_t count_;
  std::int64_t word_ = -1;
  std::uint64_t some_ = 0, all_ = 0;
};

// As many intervals are kept as they are, whatever they cost.
constexpr std::int64_t kFewPieces = 8;

// Appends what small blocks say in whole units of keys: a list of single keys would cost more than
// the pairs that it leaves out. Full are units all of whose keys are.
void append_units(std::vector<Interval>& out, std::int64_t begin, std::int64_t end, bool full,
                  std::int64_t len_k) {
  const auto down = [](std::int64_t key) { return key / kKeyUnit * kKeyUnit; };
  const auto up = [&](std::int64_t key) {
    return key == len_k ? key : std::min(down(key + kKeyUnit - 1), len_k);
  };
  const auto append_partial = [&](std::int64_t from, std::int64_t to) {
    if (from >= to) return;
    if (!out.empty()) from = std::max<std::int64_t>(from, out.back().end);
    append(out, from, to, false);
  };
  const std::int64_t full_begin = up(begin), full_end = end == len_k ? end : down(end);
  if (!full || full_begin >= full_end) return append_partial(down(begin), up(end));
  append_partial(down(begin), full_begin);
  append(out, full_begin, full_end, true);
  append_partial(full_end, up(end));
}

}  // namespace

Status Blocks::check(const PlanShape& shape) const {
  if (!fault_.ok()) return fault_;
  if (block_q_ < 1 || block_k_ < 1) {
    return Status::invalid("blocks: blocks of " + std::to_string(block_q_) + " queries by " +
                           std::to_string(block_k_) + " keys; expected at least 1 of each");
  }
  const Shape full{shape.batch, shape.heads, blocks_of(shape.len_q, block_q_),
                   blocks_of(shape.len_k, block_k_)};
  const Shape& own = bits_.shape();
  if (broadcasts({own[0], own[1], 1, 1}, full) && own[2] == full[2] && own[3] == full[3]) return {};
  return Status::invalid(
      "blocks: layout of shape " + text(own) + "; expected " + text(full) +
      " (batch, heads, blocks of queries, blocks of keys), the first two may be 1");
}

void Blocks::intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                       std::vector<Interval>& out) const {
  const Sequence& sequence = *context.sequence;
  thread_local std::vector<const std::uint64_t*> lines;
  lines.clear();
  for (std::int64_t row = (sequence.q_begin + i0) / block_q_;
       row <= (sequence.q_begin + i1 - 1) / block_q_; ++row) {
    lines.push_back(line(context, row));
  }
  const std::int64_t first = sequence.k_begin / block_k_,
                     last = blocks_of(sequence.k_begin + sequence.len_k, block_k_);
  Columns columns(lines, last);
  for (std::int64_t column = first, end; column < last; column = end) {
    Kind kind = kAbsent;
    end = columns.end_of_run(column, &kind);
    if (kind == kAbsent) continue;
    append(out, std::max<std::int64_t>(column * block_k_ - sequence.k_begin, 0),
           std::min(end * block_k_ - sequence.k_begin, sequence.len_k), kind == kFull);
  }
  const auto pieces = static_cast<std::int64_t>(out.size());
  if (pieces <= kFewPieces || pieces * kKeyUnit <= sequence.len_k) return;
  thread_local std::vector<Interval> exact;
  exact.assign(out.begin(), out.end());
  out.clear();
  for (const Interval& piece : exact)
    append_units(out, piece.begin, piece.end, piece.full, sequence.len_k);
}

std::uint64_t Blocks::bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const {
  const Sequence& sequence = *context.sequence;
  const std::uint64_t* columns = line(context, (sequence.q_begin + i) / block_q_);
  const std::int64_t key = sequence.k_begin + j0,
                     end =
                         std::min(key + 64, blocks_of(sequence.k_begin + sequence.len_k, block_k_) *
                                                block_k_);
  if (block_k_ == 1) {  // a line has a word more than it needs
    const auto shift = static_cast<int>(key % 64);
    const std::uint64_t* words = columns + key / 64;
    return shift == 0 ? words[0] : words[0] >> shift | words[1] << (64 - shift);
  }
  std::uint64_t word = 0;
  for (std::int64_t column = key / block_k_; column * block_k_ < end; ++column) {
    if (bit(columns, column)) word |= range_bits(column * block_k_, (column + 1) * block_k_, key);
  }
  return word;
}

void Blocks::words(const MaskContext& context, std::int64_t i, int rows, std::int64_t j0,
                   std::uint64_t* words) const {
  const std::int64_t first = context.sequence->q_begin + i;
  for (int r = 0; r < rows; ++r)
    words[r] = r == 0 || (first + r) % block_q_ == 0 ? bits(context, i + r, j0) : words[r - 1];
}

}  // namespace plan

Mask blocks(TensorView layout, std::int64_t block_q, std::int64_t block_k) {
  Status fault = check_view("blocks: layout", layout);
  if (fault.ok() && layout.dtype != DType::kBool) {
    fault = Status::invalid(std::string("blocks: the layout has dtype ") + name_of(layout.dtype) +
                            "; expected bool, true where attended");
  }
  if (!fault.ok())
    return Mask(
        std::make_shared<plan::Blocks>(plan::BlockBits(), block_q, block_k, std::move(fault)));
  plan::BlockBits bits(layout.shape);
  const auto* bytes = static_cast<const unsigned char*>(layout.data);
  const auto& [batch, heads, rows, columns] = layout.shape;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t row = 0; row < rows; ++row) {
        const unsigned char* line =
            bytes + b * layout.strides[0] + h * layout.strides[1] + row * layout.strides[2];
        for (std::int64_t column = 0; column < columns; ++column) {
          if (line[column * layout.strides[3]] != 0) bits.set(b, h, row, column);
        }
      }
    }
  }
  return Mask(std::make_shared<plan::Blocks>(std::move(bits), block_q, block_k));
}

}  // namespace regard
