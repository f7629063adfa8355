// SPDX-License-Identifier: Apache-2.0
// Another program, run to its end.
#pragma once

#include <string>
#include <vector>

namespace regard::data {

struct Finished {
  int status = 0;        // its exit code, or 128 + the signal that ended it
  std::string output;    // what it wrote to standard output
  std::string messages;  // and to standard error
};

// Runs a program found on PATH with additional environment variables ("NAME=value").
// std::runtime_error if it cannot be started.
Finished run(const std::vector<std::string>& command,
             const std::vector<std::string>& environment = {});

}  // namespace regard::data
