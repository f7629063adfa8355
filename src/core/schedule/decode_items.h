// SPDX-License-Identifier: Apache-2.0
// How the decode pass is cut into work items.
#pragma once

#include <cstdint>

#include "core/kernels/decode_task.h"

namespace regard::schedule {

// What the items need beside the task.
struct DecodeNeeds {
  std::int64_t states = 0;      // rows of partial states
  std::int64_t countdowns = 0;  // heads that several items share
  double work = 0;              // as run_items() counts it
};

// Fills task.items, the longest first, for those sequences of task.pass that take the decode pass:
// about as many keys in each, so that `workers` end together. Which parts an item holds changes no
// bit of a row: parts, and the order of their merge, depend on a sequence's length alone.
DecodeNeeds cut_decode(kernels::DecodeTask& task, int workers);

}  // namespace regard::schedule
