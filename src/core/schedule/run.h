// Lets an executor's workers draw numbered items in order.
#pragma once

#include <cstddef>

#include "regard/executor.h"
#include "regard/status.h"

namespace regard::schedule {

// What a worker does with one item; `scratch` is its own block.
using ItemFunction = void (*)(const void* task, std::size_t item, std::byte* scratch);

// Runs items [0, count), each once, on at most as many workers as `work` (multiply-adds) is worth waking. Items are drawn in order:
// whoever waits for a lower-numbered item waits for one that is running.
Status run_items(const Executor& executor, std::size_t count, double work, std::size_t scratch_bytes, ItemFunction function,
                 const void* task);

}  // namespace regard::schedule
