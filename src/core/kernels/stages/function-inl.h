// SPDX-License-Identifier: Apache-2.0
// A function of the user's own over tiles of scores: it always sees query rows.

#if defined(REGARD_KERNELS_FUNCTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_FUNCTION_INL_H_
#undef REGARD_KERNELS_FUNCTION_INL_H_
#else
#define REGARD_KERNELS_FUNCTION_INL_H_
#endif

#include <algorithm>
#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "regard/modifier.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <typename T>
inline constexpr std::size_t kFunctionTile = kWidth<T>* kRows;

// A tile with keys as rows, transposed; or back.
template <typename T>
HWY_INLINE void Transpose(const T* HWY_RESTRICT from, std::size_t from_stride, std::size_t rows,
                          std::size_t columns, std::size_t to_stride, T* HWY_RESTRICT to) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

template <typename T>
HWY_INLINE FunctionTile Described(const Stage& stage, const ScoreTile<T>& tile, T* data,
                                  const T* scores, std::size_t stride) {
  return {data,
          scores,
          static_cast<std::int64_t>(tile.queries()),
          static_cast<std::int64_t>(tile.keys()),
          static_cast<std::int64_t>(stride),
          stage.query_begin + tile.query,
          stage.key_begin + tile.key,
          tile.batch,
          tile.head,
          sizeof(T) == 8};
}

template <typename T>
HWY_NOINLINE void Apply(const Function& function, const Stage& stage, const ScoreTile<T>& tile) {
  if (!tile.rows_are_keys) {
    const FunctionTile described = Described<T>(stage, tile, tile.data, nullptr, kWidth<T>);
    function.apply(&described, function.context);
    return;
  }
  T queries_as_rows[kFunctionTile<T>];
  Transpose(tile.data, kWidth<T>, tile.rows, tile.lanes, kRows, queries_as_rows);
  const FunctionTile described = Described<T>(stage, tile, queries_as_rows, nullptr, kRows);
  function.apply(&described, function.context);
  Transpose(queries_as_rows, kRows, tile.lanes, tile.rows, kWidth<T>, tile.data);
}

// `input` holds the scores as the function met them. Gradients come in backward tiles, whose rows
// are keys.
template <typename T>
HWY_NOINLINE void Derive(const Function& function, const Stage& stage, const ScoreTile<T>& gradient,
                         const T* HWY_RESTRICT input) {
  T transposed[kFunctionTile<T>], scores[kFunctionTile<T>];
  Transpose(gradient.data, kWidth<T>, gradient.rows, gradient.lanes, kRows, transposed);
  Transpose(input, kWidth<T>, gradient.rows, gradient.lanes, kRows, scores);
  const FunctionTile described = Described<T>(stage, gradient, transposed, scores, kRows);
  function.derive(&described, function.context);
  Transpose(transposed, kRows, gradient.lanes, gradient.rows, kWidth<T>, gradient.data);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
