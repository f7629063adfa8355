// What happens to a tile of scores before the softmax, to weights after it, and the derivatives:
// one entry per kind of modifier.

#if defined(REGARD_KERNELS_STAGES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_STAGES_INL_H_
#undef REGARD_KERNELS_STAGES_INL_H_
#else
#define REGARD_KERNELS_STAGES_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/stages/alibi-inl.h"
#include "core/kernels/stages/dropout-inl.h"
#include "core/kernels/stages/function-inl.h"
#include "core/kernels/stages/gaussian-inl.h"
#include "core/kernels/stages/relative_bias-inl.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/stages/softcap-inl.h"
#include "core/kernels/stages/temperature-inl.h"
#include "core/kernels/stages/tile_tensor-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Scores -> modified scores, in tile.
template <typename T>
HWY_INLINE void ApplyStage(const Stage& stage, const ScoreTile<T>& tile) {
  switch (stage.kind) {
    case Stage::Kind::kTemperature: return ApplyTemperature(stage, tile);
    case Stage::Kind::kSoftcap: return ApplySoftcap(stage, tile);
    case Stage::Kind::kBias: return TakeTensor<Plus>(stage.tensor, tile, tile.data);
    case Stage::Kind::kAlibi: return ApplyAlibi(stage, tile);
    case Stage::Kind::kRelativeBias: return ApplyRelativeBias(stage, tile);
    case Stage::Kind::kFunction: return ApplyFunction(stage, tile);
    default: return;  // weights
  }
}

// What a stage's derivative needs.
inline bool KeepsInput(const Stage& stage) { return stage.kind == Stage::Kind::kFunction; }
inline bool KeepsOutput(const Stage& stage) {
  return stage.kind == Stage::Kind::kSoftcap || stage.kind == Stage::Kind::kTemperature;
}

// Gradient of the modified scores -> gradient of the scores, in tile; `kept` is what ApplyStage
// met or left. Parameters' gradients are added where they belong.
template <typename T>
HWY_INLINE void DeriveStage(const Stage& stage, const ScoreTile<T>& gradient,
                            const T* HWY_RESTRICT kept) {
  switch (stage.kind) {
    case Stage::Kind::kTemperature: return DeriveTemperature(stage, gradient, kept);
    case Stage::Kind::kSoftcap: return DeriveSoftcap(stage, gradient, kept);
    case Stage::Kind::kBias: return AddToTensor(stage.gradient, gradient);
    case Stage::Kind::kAlibi: return AddAlibiGradient(stage, gradient);
    case Stage::Kind::kRelativeBias: return AddRelativeBiasGradient(stage, gradient);
    case Stage::Kind::kFunction: return DeriveFunction(stage, gradient, kept);
    default: return;
  }
}

// A user's function may have used the matrix unit too.
template <class Ops>
HWY_INLINE void ResumeSession([[maybe_unused]] const std::vector<Stage>& stages) {
  if constexpr (Ops::kMatrixUnit) {
    for (const Stage& stage : stages) {
      if (stage.kind == Stage::Kind::kFunction) return Ops::Session::Configure();
    }
  }
}

// Multiplies the factors of a tile's weights, laid out as its scores.
template <typename T>
HWY_INLINE void ApplyWeightStage(const Stage& stage, const ScoreTile<T>& tile,
                                 T* HWY_RESTRICT factors) {
  switch (stage.kind) {
    case Stage::Kind::kDropout: return ApplyDropout(stage, tile, factors);
    case Stage::Kind::kMultiplier: return TakeTensor<Times>(stage.tensor, tile, factors);
    case Stage::Kind::kGaussian: return ApplyGaussian(stage, tile, factors);
    default: return;
  }
}

// Adds a factor's gradient to that of its parameter; the tile is not needed afterwards.
template <typename T>
HWY_INLINE void AddWeightStageGradient(const Stage& stage, const ScoreTile<T>& gradient) {
  if (stage.kind == Stage::Kind::kGaussian) return AddGaussianGradient(stage, gradient);
  return AddToTensor(stage.gradient, gradient);
}

// The factors of a tile's weights: the product of all stages but one (or of all, with `but` behind
// the end).
template <typename T>
HWY_NOINLINE void WeightFactors(const std::vector<Stage>& stages, std::size_t but,
                                const ScoreTile<T>& tile, T* HWY_RESTRICT factors) {
  for (std::size_t at = 0; at < kRows * kWidth<T>; at += kLanes<T>)
    hn::Store(hn::Set(Tag<T>(), T{1}), Tag<T>(), factors + at);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    if (s != but) ApplyWeightStage(stages[s], tile, factors);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
