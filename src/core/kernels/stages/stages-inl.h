// SPDX-License-Identifier: Apache-2.0
// What happens to a tile of scores before the softmax, to weights after it, and the derivatives:
// one entry per kind of modifier.

#if defined(REGARD_KERNELS_STAGES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_STAGES_INL_H_
#undef REGARD_KERNELS_STAGES_INL_H_
#else
#define REGARD_KERNELS_STAGES_INL_H_
#endif

#include <type_traits>
#include <variant>

#include "core/kernels/kernels.h"
#include "core/kernels/stages/alibi-inl.h"
#include "core/kernels/stages/bias-inl.h"
#include "core/kernels/stages/dropout-inl.h"
#include "core/kernels/stages/function-inl.h"
#include "core/kernels/stages/gaussian-inl.h"
#include "core/kernels/stages/multiplier-inl.h"
#include "core/kernels/stages/relative_bias-inl.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/stages/softcap-inl.h"
#include "core/kernels/stages/temperature-inl.h"
#include "core/modifiers/modifiers.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class M>
using DescriptionOf = modifiers::Description<std::remove_cvref_t<M>>;
using modifiers::ActsOn;

// Scores -> modified scores, in place.
template <typename T>
HWY_INLINE void ApplyStage(const Stage& stage, const ScoreTile<T>& tile) {
  std::visit(
      [&](const auto& modifier) {
        if constexpr (DescriptionOf<decltype(modifier)>::kActsOn == ActsOn::kScores)
          Apply(modifier, stage, tile);
      },
      *stage.modifier);
}

// What a stage's derivative needs.
inline modifiers::Keeps KeptOf(const Stage& stage) {
  return std::visit([](const auto& modifier) { return DescriptionOf<decltype(modifier)>::kKeeps; },
                    *stage.modifier);
}
inline bool CallsUserCode(const Stage& stage) {
  return std::visit(
      [](const auto& modifier) { return DescriptionOf<decltype(modifier)>::kCallsUserCode; },
      *stage.modifier);
}

// Gradient of the modified scores -> gradient of the scores, in place; `kept` is what ApplyStage
// met or left (KeptOf). Parameters' gradients are added where they belong.
template <typename T>
HWY_INLINE void DeriveStage(const Stage& stage, const ScoreTile<T>& gradient,
                            const T* HWY_RESTRICT kept) {
  std::visit(
      [&](const auto& modifier) {
        if constexpr (DescriptionOf<decltype(modifier)>::kActsOn == ActsOn::kScores)
          Derive(modifier, stage, gradient, kept);
      },
      *stage.modifier);
}

// A user's function may have used the matrix unit too.
template <class Ops>
HWY_INLINE void ResumeSession([[maybe_unused]] const std::vector<Stage>& stages) {
  if constexpr (Ops::kMatrixUnit) {
    for (const Stage& stage : stages) {
      if (CallsUserCode(stage)) return Ops::Session::Configure();
    }
  }
}

// Multiplies the factors of a tile's weights, laid out as its scores.
template <typename T>
HWY_INLINE void ApplyWeightStage(const Stage& stage, const ScoreTile<T>& tile,
                                 T* HWY_RESTRICT factors) {
  std::visit(
      [&](const auto& modifier) {
        if constexpr (DescriptionOf<decltype(modifier)>::kActsOn == ActsOn::kWeights)
          ApplyFactor(modifier, stage, tile, factors);
      },
      *stage.modifier);
}

// Adds a factor's gradient to that of its parameter; the tile is not needed afterwards.
template <typename T>
HWY_INLINE void AddWeightStageGradient(const Stage& stage, const ScoreTile<T>& gradient) {
  std::visit(
      [&](const auto& modifier) {
        using D = DescriptionOf<decltype(modifier)>;
        if constexpr (D::kActsOn == ActsOn::kWeights && D::kOwner != modifiers::Owner::kNone)
          DeriveFactor(modifier, stage, gradient);
      },
      *stage.modifier);
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
