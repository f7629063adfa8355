// SPDX-License-Identifier: Apache-2.0
// Kernels that compute in float: float32 inputs, and bfloat16 and float16 widened while they are
// packed.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/float32.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/forward/forward-inl.h"
#include "core/kernels/targets/kernel_set-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const KernelSet* Float32Set() {
  return SetOf<DotScore<PlainOps<float>>, DotGradient<PlainOps<float>>>();
}
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const KernelSet* float32_for(std::int64_t target) { REGARD_FOR_TARGET(target, Float32Set) }
}  // namespace regard::kernels
#endif
