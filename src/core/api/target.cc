// SPDX-License-Identifier: Apache-2.0
#include "regard/target.h"

#include "core/kernels/dispatch.h"
#include "core/kernels/kernels.h"

namespace regard {

std::vector<std::string> available_targets() { return kernels::target_names(true); }
std::vector<std::string> compiled_targets() { return kernels::target_names(false); }
std::string current_target() { return kernels::chosen_target(); }
Status set_target(const std::string& name) { return kernels::choose_target(name); }
// bfloat16's set is the one in which targets differ most: the others are the same for all that have
// AVX-512.
std::string kernel_target() { return kernels::set_for(DType::kBFloat16).target(); }

}  // namespace regard
