// SPDX-License-Identifier: Apache-2.0
// Additive scores of float64 inputs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/additive_float64.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/scores/additive_gradient-inl.h"
#include "core/kernels/targets/kernel_set-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const KernelSet* AdditiveFloat64Set() {
  return SetOf<AdditiveScore<double>, AdditiveGradient<double>>();
}
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const KernelSet* additive_float64_for(std::int64_t target) {
  REGARD_FOR_TARGET(target, AdditiveFloat64Set)
}
}  // namespace regard::kernels
#endif
