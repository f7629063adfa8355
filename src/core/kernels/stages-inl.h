// What happens to a tile of scores between the product and the softmax, and its derivative: one entry per kind of modifier.

#if defined(REGARD_KERNELS_STAGES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_STAGES_INL_H_
#undef REGARD_KERNELS_STAGES_INL_H_
#else
#define REGARD_KERNELS_STAGES_INL_H_
#endif

#include "core/kernels/bias-inl.h"
#include "core/kernels/kernels.h"
#include "core/kernels/score_tile-inl.h"
#include "core/kernels/softcap-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Scores -> modified scores, in place.
template <typename T>
HWY_INLINE void ApplyStage(const Stage& stage, const ScoreTile<T>& tile) {
  switch (stage.kind) {
    case Stage::Kind::kSoftcap:
      return ApplySoftcap(stage, tile);
    case Stage::Kind::kBias:
      return ApplyBias(stage, tile);
  }
}

// Whether a stage's derivative needs its output.
inline bool KeepsOutput(const Stage& stage) { return stage.kind == Stage::Kind::kSoftcap; }

// Gradient of the modified scores -> gradient of the scores, in place; `output` is what ApplyStage left. Parameters' gradients are added where they belong.
template <typename T>
HWY_INLINE void DeriveStage(const Stage& stage, const ScoreTile<T>& gradient, const T* HWY_RESTRICT output) {
  switch (stage.kind) {
    case Stage::Kind::kSoftcap:
      return DeriveSoftcap(stage, gradient, output);
    case Stage::Kind::kBias:
      return AddBiasGradient(stage, gradient);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
