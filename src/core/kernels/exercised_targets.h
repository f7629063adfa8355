// SPDX-License-Identifier: Apache-2.0
// The targets that the tests have run on a real processor. Only these are chosen by default; any
// other runs when REGARD_TARGET asks for it.
#pragma once

namespace regard::kernels {

inline constexpr const char* kExercisedTargets[] = {"amx_bf16", "avx512_bf16", "avx512",
                                                    "avx2",     "sse4",        "portable"};

}  // namespace regard::kernels
