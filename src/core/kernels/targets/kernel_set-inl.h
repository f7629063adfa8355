// SPDX-License-Identifier: Apache-2.0
// The table of functions that one .cc file offers for one instruction set.

#if defined(REGARD_KERNELS_KERNEL_SET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_KERNEL_SET_INL_H_
#undef REGARD_KERNELS_KERNEL_SET_INL_H_
#else
#define REGARD_KERNELS_KERNEL_SET_INL_H_
#endif

#include "core/kernels/backward/backward-inl.h"
#include "core/kernels/forward/forward-inl.h"
#include "core/kernels/kernels.h"
#include "core/kernels/map/map-inl.h"
#include "core/kernels/scores/dot_score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

inline const char* CompiledTarget() {
  switch (HWY_TARGET) {
    case HWY_AVX3: return "avx512";
    case HWY_AVX2: return "avx2";
    case HWY_SSE4: return "sse4";
    default: return HWY_TARGET == HWY_STATIC_TARGET ? "portable" : hwy::TargetName(HWY_TARGET);
  }
}

// Copies between views of the same shape, one of which holds T.
template <typename T>
void CopyView(const TensorView& from, const MutableTensorView& to) {
  constexpr std::int64_t kColumns = 512;
  HWY_ALIGN T row[kColumns];
  for (std::int64_t b = 0; b < to.shape[0]; ++b) {
    for (std::int64_t h = 0; h < to.shape[1]; ++h) {
      for (std::int64_t c = 0; c < to.shape[3]; c += kColumns) {
        const std::size_t cols = static_cast<std::size_t>(std::min(kColumns, to.shape[3] - c));
        RowsView source = RowsView::of(from, b, h, 0), sink = RowsView::of(to, b, h, 0);
        source.base = static_cast<const char*>(source.base) +
                      c * from.strides[3] * static_cast<std::int64_t>(size_of(from.dtype));
        sink.base = static_cast<const char*>(sink.base) +
                    c * to.strides[3] * static_cast<std::int64_t>(size_of(to.dtype));
        for (std::int64_t i = 0; i < to.shape[2]; ++i) {
          CopyRow(source, i, cols, row);
          WriteRow(row, sink, i, cols);
        }
      }
    }
  }
}

template <class Score>
void PrepareKeys(const TensorView& k, const MutableTensorView& prepared, std::int64_t batch,
                 std::int64_t head, std::byte* row) {
  if constexpr (requires { &Score::PrepareKeys; })
    Score::PrepareKeys(k, prepared, batch, head, reinterpret_cast<typename Score::T*>(row));
}

template <class Score, class Gradient>
const KernelSet* SetOf() {
  using Ops = typename Score::Ops;
  static const KernelSet set = {
      &Forward<Score>::ScratchBytes,
      &Forward<Score>::Run,
      &Backward<Gradient>::ScratchBytes,
      &Backward<Gradient>::Run,
      &MapScratch<Score>,
      &RunMap<Score>,
      &SinkGradients<typename Ops::T>,
      &PrepareKeys<Score>,
      &CopyView<typename Ops::T>,
      Ops::kTarget != nullptr ? [] { return Ops::kTarget; } : &CompiledTarget};
  return &set;
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
