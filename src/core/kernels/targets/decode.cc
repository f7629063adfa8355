// SPDX-License-Identifier: Apache-2.0
// The decode pass, which computes in float whatever elements keys and values have.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/decode.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/decode/cached_rows-inl.h"
#include "core/kernels/decode/decode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const DecodeSet* FloatDecodeSet() {
  static const DecodeSet set = {&Decode<FloatProducts>::ScratchBytes, &Decode<FloatProducts>::Run,
                                &CopyCachedRow};
  return &set;
}
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const DecodeSet* decode_for(std::int64_t target) { REGARD_FOR_TARGET(target, FloatDecodeSet) }
}  // namespace regard::kernels
#endif
