// The tile of scores that a stage sees.

#if defined(REGARD_KERNELS_SCORE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SCORE_TILE_INL_H_
#undef REGARD_KERNELS_SCORE_TILE_INL_H_
#else
#define REGARD_KERNELS_SCORE_TILE_INL_H_
#endif

#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Forward tiles have queries as rows and keys as lanes, backward tiles keys as rows and queries as lanes. Rows are kWidth apart.
template <typename T>
struct ScoreTile {
  T* data;
  std::size_t rows, lanes;  // that exist; lanes behind them hold anything
  std::int64_t query, key;  // tensor rows of the tile's first query and key
  std::int64_t batch, head;
  bool rows_are_keys;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
