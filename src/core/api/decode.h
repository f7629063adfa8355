// SPDX-License-Identifier: Apache-2.0
// The decode pass from a prepared forward pass to its work items.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "core/kernels/decode_task.h"
#include "core/schedule/scratch.h"
#include "regard/executor.h"
#include "regard/status.h"

namespace regard {

// How many queries of a sequence the decode pass takes in this call, at most (0: it takes none).
// The pass is prepared, its layout chosen.
std::int64_t decode_queries(const kernels::ForwardTask& pass);

// Rows as a view (batch, heads, rows, dim) holds them.
kernels::RowSource source_of(const TensorView& view);

class DecodeMemory {
 public:
  // Makes the items of the pass's sequences of few queries, over these keys and values. The pass
  // must outlive the items' run.
  Status prepare(const kernels::ForwardTask& pass, const kernels::RowSource& k,
                 const kernels::RowSource& v, const kernels::PageTableView& pages,
                 const Executor& executor);
  // Runs them and the pass's own items.
  Status run(const kernels::ForwardTask& pass, double pass_work, const Executor& executor);

  void clear() { states_.reset(); }

 private:
  kernels::DecodeTask task_;
  double work_ = 0;
  std::optional<schedule::ScratchMemory> states_;
  std::unique_ptr<std::atomic<std::int32_t>[]> countdowns_;
  std::int64_t countdown_room_ = 0;
};

}  // namespace regard
