// SPDX-License-Identifier: Apache-2.0
// The keys and values of a block, as the operands of tiles and sums.

#if defined(REGARD_KERNELS_BLOCK_KEYS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_BLOCK_KEYS_INL_H_
#undef REGARD_KERNELS_BLOCK_KEYS_INL_H_
#else
#define REGARD_KERNELS_BLOCK_KEYS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/prefetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Gradient>
class BlockKeys {
  using Ops = typename Gradient::Ops;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;

 public:
  // `most_keys`: of any block.
  void Take(Carve& carve, std::size_t most_keys, std::size_t dim, std::size_t dim_v) {
    dim_ = dim, dim_v_ = dim_v;
    inner_v_ = Ops::Inner(dim_v);
    panel_stride_ = most_keys / Ops::kPair * kWidth<T>;
    const std::size_t inner = Gradient::Inner(dim);
    key_rows_ = carve.Take<Rows<Packed>>(most_keys / kRows);
    value_rows_ = carve.Take<Rows<Packed>>(most_keys / kRows);
    key_row_memory_ = carve.Take<Packed>(most_keys * RowStride(inner));
    value_row_memory_ = carve.Take<Packed>(most_keys * RowStride(inner_v_));
    panel_memory_ = carve.Take<Packed>((dim + kWidth<T> - 1) / kWidth<T> * panel_stride_);
  }

  // Rows [first, first + keys) of the sequence, of one head. `few`: products with the values are
  // taken pair by pair, from rows; `staged`: tiles are whole, whatever their keys. The score has
  // been started for this head.
  void Pack(const RowsView& k, const RowsView& v, std::int64_t first, std::size_t keys, bool few,
            bool staged, Gradient& score, const RowScratch<T>& scratch) {
    const bool in_place = Gradient::kIsProduct && Ops::InPlace(k, first, keys, dim_);
    panels_ = PanelsAt<Ops>(in_place, k, first, panel_memory_, panel_stride_);
    finite_ = score.PackKeys(k, first, keys, scratch, key_rows_, key_row_memory_,
                             in_place ? nullptr : panel_memory_, panel_stride_);
    for (std::size_t j = 0; few && v.col == 1 && j < keys; ++j)
      PrefetchRow<false>(v, first + static_cast<std::int64_t>(j), dim_v_);
    for (std::size_t at = 0; at < keys; at += kRows) {
      value_rows_[at / kRows] = PackValues(v, first + static_cast<std::int64_t>(at), at,
                                           std::min(kRows, keys - at), few, staged, scratch);
    }
  }

  // Of group g of the block's keys.
  const Rows<Packed>& KeyRows(std::size_t g) const { return key_rows_[g]; }
  const Rows<Packed>& ValueRows(std::size_t g) const { return value_rows_[g]; }
  // The keys as columns, for dq; packed ones lie in PanelMemory().
  const Panels<Packed>& KeyPanels() const { return panels_; }
  const Packed* PanelMemory() const { return panel_memory_; }
  // Whether all elements of the keys are.
  bool Finite() const { return finite_; }

 private:
  Rows<Packed> PackValues(const RowsView& v, std::int64_t first, std::size_t at, std::size_t n,
                          [[maybe_unused]] bool few, bool staged, const RowScratch<T>& scratch) {
    Packed* to = value_row_memory_ + at * RowStride(inner_v_);
    if constexpr (!Gradient::kIsProduct) {
      if (few) return RowsInVectors(v, first, n, dim_v_, to, RoundUp(dim_v_, kLanes<T>));
    }
    return Ops::RowsOf(v, first, n, dim_v_, T{1}, scratch, to, RowStride(inner_v_),
                       !Gradient::kIsProduct || staged);
  }

  std::size_t dim_ = 0, dim_v_ = 0, inner_v_ = 0, panel_stride_ = 0;
  Rows<Packed>*key_rows_ = nullptr, *value_rows_ = nullptr;  // of each group
  Packed *key_row_memory_ = nullptr, *value_row_memory_ = nullptr, *panel_memory_ = nullptr;
  Panels<Packed> panels_{};
  bool finite_ = true;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
