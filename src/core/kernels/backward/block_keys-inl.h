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

  // Rows [first, first + keys) of the sequence, of one head, for which the score has been started.
  // `staged`: tiles are whole, whatever their keys.
  void Pack(const RowsView& k, const RowsView& v, std::int64_t first, std::size_t keys, bool staged,
            Gradient& score, const RowBuffers<T>& buffers) {
    const bool in_place = Gradient::kIsProduct && Ops::InPlace(k, first, keys, dim_);
    panels_ = PanelsAt<Ops>(in_place, k, first, panel_memory_, panel_stride_);
    finite_ = score.PackKeys(k, first, keys, buffers, key_rows_, key_row_memory_,
                             in_place ? nullptr : panel_memory_, panel_stride_);
    score.PrefetchValues(v, first, keys, dim_v_);
    for (std::size_t at = 0; at < keys; at += kRows) {
      value_rows_[at / kRows] =
          score.ValueRows(v, first + static_cast<std::int64_t>(at), std::min(kRows, keys - at),
                          dim_v_, staged, buffers, value_row_memory_ + at * RowStride(inner_v_));
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
