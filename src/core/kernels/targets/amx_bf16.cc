// SPDX-License-Identifier: Apache-2.0
// Kernels for bfloat16 on processors with a matrix unit.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/amx_bf16.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/kernels.h"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
// See bf16_pairs.cc.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR HWY_TARGET_STR_AVX3 ",avx512bf16,amx-tile,amx-bf16"

#include "core/kernels/targets/kernel_set-inl.h"
#include "core/kernels/tile/amx_bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const KernelSet* AmxBf16Set() { return SetOf<DotScore<AmxOps>, DotGradient<AmxOps>>(); }
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const KernelSet* amx_bf16_for(std::int64_t target) {
  switch (target) {
    REGARD_CASE_AVX3(AmxBf16Set)
    default: return nullptr;
  }
}
}  // namespace regard::kernels
#endif
