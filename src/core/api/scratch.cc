// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/scratch.h"

#include "regard/attention.h"

namespace regard {

void release_scratch() { schedule::scratch_release(); }
std::size_t scratch_bytes() { return schedule::scratch_total(); }

}  // namespace regard
