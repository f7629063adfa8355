// SPDX-License-Identifier: Apache-2.0
// s <- s + bias.

#if defined(REGARD_KERNELS_BIAS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BIAS_INL_H_
#undef REGARD_KERNELS_BIAS_INL_H_
#else
#define REGARD_KERNELS_BIAS_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/tile_tensor-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
HWY_INLINE void Apply(const Bias&, const Stage& stage, const ScoreTile<T>& tile) {
  TakeTensor<Plus>(stage.tensor, tile, tile.data);
}

template <typename T>
HWY_INLINE void Derive(const Bias&, const Stage& stage, const ScoreTile<T>& gradient,
                       const T* /*kept*/) {
  AddToTensor(stage.gradient, gradient);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
