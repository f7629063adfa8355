// SPDX-License-Identifier: Apache-2.0
// A task whose data is a list: texts, images, parts of documents. Each epoch gives all of it, in
// batches that are known when the epoch begins.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "regard/train/task.h"

namespace regard::train {

class OrderedTask : public Task {
 public:
  std::optional<TaskBatch> next() final;
  Place place() const final { return place_; }
  void seek(const Place& place) final;
  double epoch_fraction() const final;

 protected:
  using Rows = std::vector<std::int64_t>;  // numbers of what is in the list, from 0

  // Everything in the list, in the batches of an epoch: the same at every call.
  virtual std::vector<Rows> batches_of(std::int64_t epoch) const = 0;
  // The batch of these rows, which stands at `place`.
  virtual TaskBatch batch(const Rows& rows, const Place& place) = 0;

  // 0, 1, ... below `count`.
  static Rows numbers(std::int64_t count);
  // The rows in their order, `size` of them a batch, fewer in the last.
  static std::vector<Rows> in_batches(const Rows& rows, std::int64_t size);

 private:
  void order();  // makes the batches of the epoch that place_ is in

  Place place_;
  std::int64_t epoch_ = -1;  // that batches_ are of
  std::vector<Rows> batches_;
};

}  // namespace regard::train
