// SPDX-License-Identifier: Apache-2.0
// The processor's matrix unit.
#pragma once

namespace regard::kernels {

// Whether there is one that multiplies bfloat16 (AMX-BF16) and the operating system lets this
// process use it. Asks for that at its first call: the unit's registers are large, and Linux saves
// them for those alone who have asked.
bool has_matrix_unit();

}  // namespace regard::kernels
