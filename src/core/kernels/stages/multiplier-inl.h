// SPDX-License-Identifier: Apache-2.0
// weight <- weight * multiplier, after the softmax.

#if defined(REGARD_KERNELS_MULTIPLIER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MULTIPLIER_INL_H_
#undef REGARD_KERNELS_MULTIPLIER_INL_H_
#else
#define REGARD_KERNELS_MULTIPLIER_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/tile_tensor-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
HWY_INLINE void ApplyFactor(const Multiplier&, const Stage& stage, const ScoreTile<T>& tile,
                            T* HWY_RESTRICT factors) {
  TakeTensor<Times>(stage.tensor, tile, factors);
}

template <typename T>
HWY_INLINE void DeriveFactor(const Multiplier&, const Stage& stage, const ScoreTile<T>& gradient) {
  AddToTensor(stage.gradient, gradient);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
