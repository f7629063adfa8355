// SPDX-License-Identifier: Apache-2.0
// Kernels that multiply pairs of bfloat16, for processors that have the instruction.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/bf16_pairs.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/kernels.h"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
// What HWY_BEFORE_NAMESPACE() lets functions use. What this file shares with other kernels must not
// use bfloat16 instructions: of functions that several files compile, the linker may keep these for
// processors that lack them.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR HWY_TARGET_STR_AVX3 ",avx512bf16"

#include "core/kernels/targets/kernel_set-inl.h"
#include "core/kernels/tile/bf16_pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const KernelSet* Bf16PairsSet() { return SetOf<DotScore<Bf16PairOps>, DotGradient<Bf16PairOps>>(); }
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const KernelSet* bf16_pairs_for(std::int64_t target) {
  switch (target) {
    REGARD_CASE_AVX3(Bf16PairsSet)
    default: return nullptr;
  }
}
}  // namespace regard::kernels
#endif
