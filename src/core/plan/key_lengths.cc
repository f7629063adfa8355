// SPDX-License-Identifier: Apache-2.0
#include "core/plan/key_lengths.h"

#include <string>

#include "core/plan/interval_list.h"

namespace regard {
namespace plan {

Status KeyLengths::check(const PlanShape& shape) const {
  if (static_cast<std::int64_t>(lengths_.size()) != shape.batch) {
    return Status::invalid("key_lengths: " + std::to_string(lengths_.size()) +
                           " lengths; expected one for each of " + std::to_string(shape.batch) +
                           " batch entries");
  }
  for (std::size_t b = 0; b < lengths_.size(); ++b) {
    if (lengths_[b] < 0 || lengths_[b] > shape.len_k) {
      return Status::invalid("key_lengths: length " + std::to_string(lengths_[b]) +
                             " of batch entry " + std::to_string(b) + "; expected 0 to " +
                             std::to_string(shape.len_k) + ", the keys there are");
    }
  }
  return {};
}

std::int64_t KeyLengths::visible(const Sequence& sequence) const {
  const std::int64_t length = lengths_[static_cast<std::size_t>(sequence.batch)];
  return std::clamp<std::int64_t>(length - sequence.k_begin, 0, sequence.len_k);
}

void KeyLengths::intervals(const MaskContext& context, std::int64_t, std::int64_t,
                           std::vector<Interval>& out) const {
  append(out, 0, visible(*context.sequence), true);
}

std::uint64_t KeyLengths::bits(const MaskContext& context, std::int64_t, std::int64_t j0) const {
  return range_bits(0, visible(*context.sequence), j0);
}

}  // namespace plan

Mask key_lengths(std::vector<std::int64_t> lengths) {
  return Mask(std::make_shared<plan::KeyLengths>(std::move(lengths)));
}

}  // namespace regard
