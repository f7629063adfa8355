// SPDX-License-Identifier: Apache-2.0
// The decode pass over bfloat16 and int8 where many queries share keys, for processors with a
// matrix unit.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/decode_amx_bf16.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/decode_task.h"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
// See bf16_pairs.cc.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR HWY_TARGET_STR_AVX3 ",avx512bf16,amx-tile,amx-bf16"

#include "core/kernels/decode/cached_rows-inl.h"
#include "core/kernels/decode/decode-inl.h"
#include "core/kernels/decode/pair_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const DecodeSet* AmxBf16DecodeSet() {
  using Pass = Decode<PairProducts>;
  static const DecodeSet set = {&Pass::ScratchBytes, &Pass::Run, &CopyCachedRow};
  return &set;
}
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const DecodeSet* decode_amx_bf16_for(std::int64_t target) {
  switch (target) {
    REGARD_CASE_AVX3(AmxBf16DecodeSet)
    default: return nullptr;
  }
}
}  // namespace regard::kernels
#endif
