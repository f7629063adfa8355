// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.h"

#include <signal.h>

#include "cli/commands.h"

namespace regard::cli {
namespace {

std::atomic<bool> stop = false;

}  // namespace

void listen_to_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop = true; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void default_signals() {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

std::atomic<bool>& interrupt_flag() { return stop; }

bool interrupted() { return stop; }

}  // namespace regard::cli
