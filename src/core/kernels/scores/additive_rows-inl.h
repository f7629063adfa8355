// SPDX-License-Identifier: Apache-2.0
// Rows of an additive score as exponentials: taken from a head's rows, or from what prepare_keys()
// has made of them.

#if defined(REGARD_KERNELS_ADDITIVE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ADDITIVE_ROWS_INL_H_
#undef REGARD_KERNELS_ADDITIVE_ROWS_INL_H_
#else
#define REGARD_KERNELS_ADDITIVE_ROWS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/scores/additive_exp-inl.h"
#include "core/kernels/tile/operands-inl.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// A head's rows, from one on, and where their exponentials lie ready (no base: they do not).
struct ExponentialRows {
  RowsView head;
  RowsView made = {};
  std::int64_t first = 0;

  ExponentialRows from(std::int64_t row) const { return {head, made, row}; }

  // Whether rows of `cols` columns can be read where they lie, by whole panels.
  template <typename T>
  bool InPlace(std::size_t cols) const {
    return made.base != nullptr && made.order == nullptr && made.col == 1 && cols % kWidth<T> == 0;
  }
  // Those from row r on; InPlace() only.
  template <typename T>
  Rows<T> At(std::size_t r) const {
    return {static_cast<const T*>(made.base) + made.At(first + static_cast<std::int64_t>(r)),
            made.row};
  }

  // What is read: the exponentials, or what they are made of.
  const RowsView& source() const { return made.base != nullptr ? made : head; }

  // Row r's exponentials, with zeros up to the next whole panel, for which there is room.
  template <typename T>
  RowKind Make(std::size_t r, std::size_t cols, T* HWY_RESTRICT to) const {
    const std::int64_t i = first + static_cast<std::int64_t>(r);
    const T* from = to;
    if (source().dtype == OwnDType<T>() && source().col == 1) {
      from = static_cast<const T*>(source().base) + source().At(i);
    } else {
      CopyRow(source(), i, cols, to);
    }
    return made.base != nullptr ? MakeExponentialsOf<T, Elements::kExponentials>(from, cols, to)
                                : MakeExponentials<T>(from, cols, to);
  }
};

// `n` rows as pointers: where they lie, or to copies; what a tile or panel of `most` rows lacks
// points at zeros. `kinds` gets one entry a row.
template <typename T>
HWY_INLINE void PointAtExponentials(const ExponentialRows& from, std::size_t n, std::size_t most,
                                    std::size_t cols, const RowBuffers<T>& buffers,
                                    std::uint8_t* HWY_RESTRICT kinds, const T** rows) {
  const bool in_place = from.InPlace<T>(cols);
  for (std::size_t r = 0; r < n; ++r) {
    if (in_place) {
      rows[r] = from.At<T>(r).data;
      kinds[r] = KindOfExponentials(rows[r], cols);
    } else {
      T* row = buffers.copies + r * buffers.stride;
      kinds[r] = from.Make(r, cols, row);
      rows[r] = row;
    }
  }
  for (std::size_t r = n; r < most; ++r) {
    rows[r] = buffers.zeros;
    kinds[r] = kNarrowRow;
  }
}

// The same as rows with one stride: where they lie, or copied to `to`, `stride` apart, whole
// panels.
template <typename T>
HWY_INLINE Rows<T> ExponentialRowsAt(const ExponentialRows& from, std::size_t n, std::size_t cols,
                                     std::uint8_t* HWY_RESTRICT kinds, T* to, std::size_t stride) {
  if (from.InPlace<T>(cols)) {
    for (std::size_t r = 0; r < n; ++r) kinds[r] = KindOfExponentials(from.At<T>(r).data, cols);
    return from.At<T>(0);
  }
  for (std::size_t r = 0; r < n; ++r) {
    if (from.source().col == 1 && r + kRowsAhead < n)
      PrefetchRow<false>(from.source(), from.first + static_cast<std::int64_t>(r + kRowsAhead),
                         cols);
    kinds[r] = from.Make(r, cols, to + r * stride);
  }
  return {to, static_cast<std::int64_t>(stride)};
}

inline bool SomeWide(const std::uint8_t* kinds, std::size_t n) {
  return std::any_of(kinds, kinds + n, [](std::uint8_t kind) { return kind != kNarrowRow; });
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
