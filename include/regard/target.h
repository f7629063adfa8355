// SPDX-License-Identifier: Apache-2.0
// Which instruction set runs.
//
// One binary holds the kernels for every instruction set; the best one that this processor has, and
// that tests have exercised on a real processor (src/core/kernels/exercised_targets.h), is chosen
// at run time. The environment variable REGARD_TARGET (amx_bf16, avx512_bf16, avx512, avx2, sse4,
// portable) forces one; naming one that cannot run here is an error of every call.
#pragma once

#include <string>
#include <vector>

#include "regard/status.h"

namespace regard {

// The names of the targets that this processor can run, best first.
std::vector<std::string> available_targets();
// The names of all targets in this binary, best first.
std::vector<std::string> compiled_targets();
// The target that the next call uses.
std::string current_target();
// Forces a target for all later calls of this process; an empty name goes back to the default
// choice.
Status set_target(const std::string& name);
// Asks the kernel itself which target it was compiled for: what really ran, for tests.
std::string kernel_target();

}  // namespace regard
