// SPDX-License-Identifier: Apache-2.0
// Counts what the program allocates, by standing in front of malloc and its kin (glibc).
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::bench {

struct Allocations {
  std::int64_t count;  // calls since reset_allocations()
  std::int64_t
      peak_bytes;  // the most that was live at once, beyond what was live at reset_allocations()
};

void reset_allocations();
Allocations allocations();

}  // namespace regard::bench
