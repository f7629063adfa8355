# SPDX-License-Identifier: Apache-2.0
"""A mask, a modifier and a score that nobody needs, as the changes that each of them takes: files
that are new, and lines that are put before a line of a file that is there."""

from dataclasses import dataclass, field


@dataclass
class Addition:
    new: dict[str, str]  # path: text
    edits: dict[str, list[tuple[str, str]]]  # path: (what stands before this, the new lines)
    summary: str = field(init=False)

    def __post_init__(self):
        self.summary = f"{len(self.new)} new, {len(self.edits)} edited"


TOGGLE = """
#if defined({guard}) == defined(HWY_TARGET_TOGGLE)
#ifdef {guard}
#undef {guard}
#else
#define {guard}
#endif
"""

MASK = Addition(
    new={
        "src/core/plan/every_third.cc": """
#include "core/plan/interval_list.h"
#include "core/plan/mask_node.h"

namespace regard {
namespace plan {
namespace {

// Query i sees keys j with (i + j) % 3 == 0.
class EveryThird final : public MaskNode {
 public:
  void intervals(const MaskContext& context, std::int64_t, std::int64_t,
                 std::vector<Interval>& out) const override {
    append(out, 0, context.sequence->len_k, false);
  }
  std::uint64_t bits(const MaskContext&, std::int64_t i, std::int64_t j0) const override {
    std::uint64_t word = 0;
    for (int b = 0; b < 64; ++b) word |= std::uint64_t((i + j0 + b) % 3 == 0) << b;
    return word;
  }
};

}  // namespace
}  // namespace plan

Mask every_third() { return Mask(std::make_shared<plan::EveryThird>()); }

}  // namespace regard
"""
    },
    edits={
        "include/regard/mask.h": [("Mask key_lengths(", "Mask every_third();\n")],
        "include/regard/encoding.h": [
            ("  kScale = 20,", "  kEveryThird = 19,\n"),
            (
                '    {Record::kScale, "',
                '    {Record::kEveryThird, "every_third", "", "", "", 0},\n',
            ),
        ],
        "src/core/api/encoding.cc": [
            (
                "      case Record::kKeyLengths: return take",
                "      case Record::kEveryThird: masks_.push_back(every_third()); break;\n",
            )
        ],
    },
)

MODIFIER = Addition(
    new={
        "src/core/modifiers/stretch.h": """
#pragma once
#include "core/modifiers/check.h"
#include "core/modifiers/description.h"

namespace regard::modifiers {

template <>
struct Description<Stretch> : Defaults {
  static constexpr const char* kName = "stretch";
  static constexpr ActsOn kActsOn = ActsOn::kScores;
  static constexpr Owner kOwner = Owner::kNone;
  static constexpr bool kLooksAtPositions = false;
  static Rank rank(const Stretch&) { return Rank::kDivide; }
  static const TensorView* tensor(const Stretch&) { return nullptr; }
  static Status check(const std::string& name, const Stretch& m, const Shape&, DType own) {
    return check_positive(name, m.factor, {m.factor}, own);
  }
};

}  // namespace regard::modifiers
""",
        "src/core/kernels/stages/stretch-inl.h": TOGGLE.format(
            guard="REGARD_KERNELS_STRETCH_INL_H_"
        )
        + """
#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void Apply(const Stretch& stretch, const Stage&, const ScoreTile<T>& tile) {
  for (std::size_t at = 0; at < tile.rows * kWidth<T>; ++at)
    tile.data[at] *= static_cast<T>(stretch.factor);
}
template <typename T>
void Derive(const Stretch& stretch, const Stage& stage, const ScoreTile<T>& gradient, const T*) {
  Apply(stretch, stage, gradient);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();
#endif
""",
    },
    edits={
        "include/regard/modifier.h": [
            ("using Modifier =", "struct Stretch {\n  double factor;\n};\n\n"),
            ("Softcap, Bias, Temperature,", "Stretch, "),
        ],
        "src/core/modifiers/modifiers.h": [
            ('#include "core/modifiers/temperature.h"', '#include "core/modifiers/stretch.h"\n')
        ],
        "src/core/kernels/stages/stages-inl.h": [
            (
                '#include "core/kernels/stages/temperature-inl.h"',
                '#include "core/kernels/stages/stretch-inl.h"\n',
            )
        ],
        "include/regard/encoding.h": [
            ("  kAdditive = 40,", "  kStretch = 39,\n"),
            (
                '    {Record::kAdditive, "',
                '    {Record::kStretch, "stretch", "", "factor", "", 0},\n',
            ),
        ],
        "src/core/api/encoding.cc": [
            (
                "      case Record::kKeyLengths: return take",
                "      case Record::kStretch: options_.modifiers.push_back(Stretch{take_float()});"
                " break;\n",
            )
        ],
    },
)

SCORE = Addition(
    new={
        "src/core/kernels/scores/cubic_score-inl.h": TOGGLE.format(
            guard="REGARD_KERNELS_CUBIC_SCORE_INL_H_"
        )
        + """
#include "core/kernels/scores/dot_score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// (scale * q . k)^3, forward.
template <class Ops>
class CubicScore : public DotScore<Ops> {
 public:
  using T = typename Ops::T;
  using DotScore<Ops>::DotScore;
  static constexpr bool kInRegisters = false;
  void Tile(const ScoreTile<T>& tile, std::size_t row, std::size_t lane,
            Rows<typename Ops::Packed> q, const typename Ops::Packed* k) const {
    DotScore<Ops>::Tile(tile, row, lane, q, k);
    for (std::size_t at = 0; at < tile.rows * kWidth<T>; ++at)
      tile.data[at] *= tile.data[at] * tile.data[at];
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();
#endif
""",
        "src/core/kernels/targets/cubic_float32.cc": """
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/targets/cubic_float32.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "core/kernels/scores/cubic_score-inl.h"
#include "core/kernels/targets/kernel_set-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {
const KernelSet* CubicFloat32Set() {
  return SetOf<CubicScore<PlainOps<float>>, DotGradient<PlainOps<float>>>();
}
}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/kernels/targets/each_target.h"

namespace regard::kernels {
const KernelSet* cubic_float32_for(std::int64_t target) {
  REGARD_FOR_TARGET(target, CubicFloat32Set)
}
}  // namespace regard::kernels
#endif
""",
    },
    edits={
        "include/regard/attention.h": [
            ("  std::optional<double> scale;", "  bool cubic = false;\n")
        ],
        "src/core/kernels/kernels.h": [
            (
                "const KernelSet* additive_float32_for(",
                "const KernelSet* cubic_float32_for(std::int64_t target);\n"
                "const KernelSet& cubic_set();\n",
            )
        ],
        "src/core/kernels/dispatch.cc": [
            (
                "const KernelSet& additive_set_for(",
                "const KernelSet& cubic_set() { return *cubic_float32_for(current().number); }\n\n",
            )
        ],
        "src/core/api/additive.cc": [
            (
                "  return options.score ? kernels::additive_set_for",
                "  if (options.cubic) return kernels::cubic_set();\n",
            )
        ],
    },
)

ALL = {"mask": MASK, "modifier": MODIFIER, "score": SCORE}
