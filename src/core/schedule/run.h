// SPDX-License-Identifier: Apache-2.0
// Distributes numbered items among an executor's workers.
#pragma once

#include <cstddef>

#include "regard/executor.h"
#include "regard/status.h"

namespace regard::schedule {

// What a worker does with one item; `scratch` is its own block.
using ItemFunction = void (*)(const void* task, std::size_t item, std::byte* scratch);

// Whether an item may wait for one of a lower number.
enum class ItemOrder { kAny, kMayWait };

// Whether denormal results are what the caller's thread makes of them, or 0.
enum class Denormals { kAsCaller, kFlush };

// Runs items [0, count), each once, on at most as many workers as `work` (multiply-adds) is worth
// waking. Where items may wait, they are taken in order, small ones a few at a time, which their
// worker runs in order: the lowest item that has not ended waits for nobody, so whoever waits for a
// lower one gets on.
Status run_items(const Executor& executor, std::size_t count, double work,
                 std::size_t scratch_bytes, ItemFunction function, const void* task,
                 ItemOrder order = ItemOrder::kAny, Denormals denormals = Denormals::kAsCaller);

}  // namespace regard::schedule
