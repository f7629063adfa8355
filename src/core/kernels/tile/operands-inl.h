// SPDX-License-Identifier: Apache-2.0
// The two operands of a tile's product, where they lie: in a tensor itself, or packed. Strides
// count elements.

#if defined(REGARD_KERNELS_OPERANDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_OPERANDS_INL_H_
#undef REGARD_KERNELS_OPERANDS_INL_H_
#else
#define REGARD_KERNELS_OPERANDS_INL_H_
#endif

#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Rows are broadcast element by element: row r starts at data + r * stride, and its elements lie
// `step` apart.
template <class Packed>
struct Rows {
  const Packed* data;
  std::int64_t stride;
  std::int64_t step = 1;
  HWY_INLINE Rows row(std::int64_t r) const { return {data + r * stride, stride, step}; }
  HWY_INLINE Rows from(std::size_t c) const {
    return {data + static_cast<std::int64_t>(c) * step, stride, step};
  }
};

// Columns are read as vectors: what is multiplied with element c of the rows starts at data + c *
// stride.
template <class Packed>
struct Columns {
  const Packed* data;
  std::int64_t stride;
  HWY_INLINE Columns from(std::size_t c) const {
    return {data + static_cast<std::int64_t>(c) * stride, stride};
  }
};

// Panels of kWidth columns each.
template <class Packed>
struct Panels {
  const Packed* data;
  std::int64_t stride, panel;
  HWY_INLINE Columns<Packed> at(std::size_t p) const {
    return {data + static_cast<std::int64_t>(p) * panel, stride};
  }
  HWY_INLINE Panels from(std::size_t c) const {
    return {data + static_cast<std::int64_t>(c) * stride, stride, panel};
  }
};

// One part of a product that is summed over `inner` packed elements.
template <class Packed>
struct ProductPart {
  Rows<Packed> rows;
  Columns<Packed> columns;
  std::size_t inner;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
