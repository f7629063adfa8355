// SPDX-License-Identifier: Apache-2.0
// SIGINT and SIGTERM for work that ends in order.
#pragma once

#include <atomic>

namespace regard::cli {

// From now on the first of them sets the flag, and the next one ends the program at once.
void listen_to_signals();
// From now on the first one ends the program.
void default_signals();
std::atomic<bool>& interrupt_flag();

}  // namespace regard::cli
