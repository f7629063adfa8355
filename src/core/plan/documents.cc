// SPDX-License-Identifier: Apache-2.0
#include "core/plan/documents.h"

#include <string>

#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

Status check_bounds(const char* name, const std::vector<std::int64_t>& bounds, std::int64_t rows) {
  const std::string who = std::string("documents: ") + name;
  if (bounds.empty())
    return Status::invalid(who + " is empty; expected one entry more than there are documents");
  if (bounds.front() != 0)
    return Status::invalid(who + " starts at " + std::to_string(bounds.front()) + "; expected 0");
  for (std::size_t n = 1; n < bounds.size(); ++n) {
    if (bounds[n] < bounds[n - 1]) {
      return Status::invalid(who + " falls from " + std::to_string(bounds[n - 1]) + " to " +
                             std::to_string(bounds[n]) + " at entry " + std::to_string(n) +
                             "; expected entries that never fall");
    }
  }
  if (bounds.back() > rows) {
    return Status::invalid(who + " ends at " + std::to_string(bounds.back()) + ", past the " +
                           std::to_string(rows) + " rows there are");
  }
  return {};
}

}  // namespace

Status Documents::check(const PlanShape& shape) const {
  if (cu_q_.size() != cu_k_.size()) {
    return Status::invalid("documents: cu_q has " + std::to_string(cu_q_.size()) +
                           " entries, cu_k " + std::to_string(cu_k_.size()) +
                           "; expected the same count");
  }
  Status status = check_bounds("cu_q", cu_q_, shape.len_q);
  if (status.ok()) status = check_bounds("cu_k", cu_k_, shape.len_k);
  return status;
}

// The document that holds the row, or the count of documents for rows past the last. Empty
// documents are stepped over.
std::size_t Documents::document_of(std::int64_t row) const {
  return static_cast<std::size_t>(std::upper_bound(cu_q_.begin(), cu_q_.end(), row) -
                                  cu_q_.begin()) -
         1;
}

void Documents::intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                          std::vector<Interval>& out) const {
  const std::int64_t len_k = context.sequence->len_k;
  for (std::size_t n = document_of(i0); n + 1 < cu_q_.size() && cu_q_[n] < i1; ++n) {
    if (cu_q_[n] == cu_q_[n + 1]) continue;
    const bool holds_all_rows = cu_q_[n] <= i0 && i1 <= cu_q_[n + 1];
    append(out, std::min(cu_k_[n], len_k), std::min(cu_k_[n + 1], len_k), holds_all_rows);
  }
}

std::uint64_t Documents::bits(const MaskContext&, std::int64_t i, std::int64_t j0) const {
  const std::size_t n = document_of(i);
  return n + 1 < cu_q_.size() ? range_bits(cu_k_[n], cu_k_[n + 1], j0) : 0;
}

void Documents::split(std::int32_t batch, const PlanShape& shape,
                      std::vector<Sequence>& sequences) const {
  for (std::size_t n = 0; n + 1 < cu_q_.size(); ++n) {
    const std::int64_t len_q = cu_q_[n + 1] - cu_q_[n], len_k = cu_k_[n + 1] - cu_k_[n];
    if (len_q > 0 || len_k > 0)
      sequences.push_back({batch, cu_q_[n], cu_k_[n], len_q, len_k, len_k, len_k - len_q});
  }
  const std::int64_t rest_q = shape.len_q - cu_q_.back(), rest_k = shape.len_k - cu_k_.back();
  if (rest_q > 0 || rest_k > 0)
    sequences.push_back({batch, cu_q_.back(), cu_k_.back(), rest_q, 0, rest_k, rest_k - rest_q});
}

}  // namespace plan

Mask documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k) {
  return Mask(std::make_shared<plan::Documents>(std::move(cu_q), std::move(cu_k)));
}

}  // namespace regard
