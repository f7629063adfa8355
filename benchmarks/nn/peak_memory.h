// SPDX-License-Identifier: Apache-2.0
// The memory that a piece of work needs beyond what the process holds before it (Linux, glibc).
#pragma once

#include <malloc.h>

#include <cstdint>
#include <fstream>
#include <string>

// A figure of the kernel's, which are in KiB, in bytes.
inline std::int64_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return 1024 * std::stoll(line.substr(name.size() + 1));
  return -1;
}

// What the process holds. Gives back what is free first, so that work that takes it again is
// counted, and begins a new peak: loading a model needs more than the model.
inline std::int64_t held_bytes() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
  return status_bytes("VmRSS");
}

// The most that it has held since.
inline std::int64_t peak_bytes() { return status_bytes("VmHWM"); }
