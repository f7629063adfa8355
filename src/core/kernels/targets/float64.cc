// SPDX-License-Identifier: Apache-2.0
// Kernels that compute in double: float64 inputs, through the same templates.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/float64.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/forward/forward-inl.h"
#include "core/kernels/targets/kernel_set-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const KernelSet* Float64Set() {
  return SetOf<DotScore<PlainOps<double>>, DotGradient<PlainOps<double>>>();
}
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const KernelSet* float64_for(std::int64_t target) { REGARD_FOR_TARGET(target, Float64Set) }
}  // namespace regard::kernels
#endif
