// SPDX-License-Identifier: Apache-2.0
#include "regard/train/ordered_task.h"

#include <algorithm>
#include <numeric>

namespace regard::train {

void OrderedTask::order() {
  if (epoch_ == place_.epoch) return;
  batches_ = batches_of(place_.epoch);
  epoch_ = place_.epoch;
}

void OrderedTask::seek(const Place& place) {
  place_ = place;
  order();
}

std::optional<TaskBatch> OrderedTask::next() {
  order();
  if (place_.batch >= std::ssize(batches_)) {
    place_ = {place_.epoch + 1, 0, 0};
    return std::nullopt;
  }
  TaskBatch next = batch(batches_[static_cast<std::size_t>(place_.batch)], place_);
  ++place_.batch;
  return next;
}

double OrderedTask::epoch_fraction() const {
  if (epoch_ != place_.epoch || batches_.empty()) return 0;
  return static_cast<double>(place_.batch) / static_cast<double>(batches_.size());
}

OrderedTask::Rows OrderedTask::numbers(std::int64_t count) {
  Rows rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

std::vector<OrderedTask::Rows> OrderedTask::in_batches(const Rows& rows, std::int64_t size) {
  std::vector<Rows> batches;
  for (auto begin = rows.begin(); begin != rows.end();) {
    const auto end = begin + std::min(static_cast<std::ptrdiff_t>(size), rows.end() - begin);
    batches.emplace_back(begin, end);
    begin = end;
  }
  return batches;
}

}  // namespace regard::train
