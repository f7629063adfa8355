// SPDX-License-Identifier: Apache-2.0
// Targets by name, for api/target.cc.
#pragma once

#include <string>
#include <vector>

#include "regard/status.h"

namespace regard::kernels {

Status choose_target(const std::string& name);  // empty: the default
Status target_status();  // an error where REGARD_TARGET names what cannot run here
std::vector<std::string> target_names(bool only_available);
std::string chosen_target();
// The best of the compiled targets that is in both lists, else the portable one.
std::string best_target(const std::vector<std::string>& available,
                        const std::vector<std::string>& exercised);

}  // namespace regard::kernels
