// SPDX-License-Identifier: Apache-2.0
// Where the rows of a cache or tensor lie, and rows on their way into a cache and out of it.

#if defined(REGARD_KERNELS_CACHED_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_CACHED_ROWS_INL_H_
#undef REGARD_KERNELS_CACHED_ROWS_INL_H_
#else
#define REGARD_KERNELS_CACHED_ROWS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/kernels/decode/decode_rows-inl.h"
#include "core/kernels/decode_task.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The rows of one sequence and kv head, wherever its slots or pages are.
class CachedRows {
 public:
  CachedRows() = default;
  CachedRows(const RowSource& from, const PageTableView& pages, const plan::Sequence& sequence,
             std::int32_t head, std::size_t cols)
      : from_(&from),
        pages_(&pages),
        batch_(sequence.batch),
        head_(head),
        first_(sequence.k_begin),
        cols_(cols),
        in_place_(cols % kLanes<float> == 0 && from.col == 1) {}

  // Whether whole vectors can be read where they lie.
  bool in_place() const { return in_place_; }
  DType dtype() const { return in_place_ ? from_->dtype : DType::kFloat32; }

  // Where rows [first, first + n) lie, and in whole vectors behind them the last of these again:
  // in the tensor, or, where they are not in place, in `copies` as floats with zeros behind, which
  // is not needed otherwise. Their scales, unless `scales` is null or there are none.
  void Find(std::int64_t first, std::size_t n, float* copies, const void** rows,
            float* scales) const {
    const RowSource& from = *from_;
    const auto size = static_cast<std::int64_t>(size_of(from.dtype));
    const std::int64_t page = pages_->table == nullptr ? 0 : pages_->page;
    std::size_t j = 0;
    while (j < n) {
      // Rows of one page lie one row stride apart.
      const Location at = Locate(first + static_cast<std::int64_t>(j));
      const std::size_t run =
          page == 0 ? n - j : std::min<std::size_t>(n - j, static_cast<std::size_t>(page - at.row));
      const char* base = static_cast<const char*>(from.data) +
                         (at.slot * from.slot + head_ * from.head + at.row * from.row) * size;
      for (std::size_t i = 0; i < run; ++i)
        rows[j + i] = base + static_cast<std::int64_t>(i) * from.row * size;
      for (std::size_t i = 0; scales != nullptr && from.scales != nullptr && i < run; ++i)
        scales[j + i] = *ScaleAt(at, static_cast<std::int64_t>(i));
      j += run;
    }
    if (!in_place_) Copy(n, copies, rows);
    for (; j % kLanes<float> != 0; ++j) rows[j] = rows[n - 1];
  }

  // Prefetches the scales of n rows, which lie elsewhere in every page.
  void PrefetchScales(std::int64_t first, std::int64_t n) const {
    if (from_->scales == nullptr) return;
    constexpr std::int64_t kLine = 64 / sizeof(float);
    for (std::int64_t i = 0; i < n; i += kLine)
      __builtin_prefetch(ScaleAt(Locate(first + i), 0), 0, 3);
  }

 private:
  struct Location {
    std::int64_t slot, row;
  };
  const float* ScaleAt(const Location& at, std::int64_t i) const {
    return from_->scales + at.slot * from_->scale_slot + head_ * from_->scale_head +
           (at.row + i) * from_->scale_row;
  }
  Location Locate(std::int64_t key) const {
    const std::int64_t row = first_ + key;
    if (pages_->table == nullptr) return {batch_, row};
    const std::int64_t page = row / pages_->page;
    return {pages_->table[batch_ * pages_->table_stride + page], row - page * pages_->page};
  }

  HWY_NOINLINE void Copy(std::size_t n, float* copies, const void** rows) const {
    const std::size_t padded = RoundUp(cols_, kLanes<float>);
    for (std::size_t j = 0; j < n; ++j) {
      float* to = copies + j * padded;
      if (from_->dtype == DType::kInt8) {
        const auto* row = static_cast<const std::int8_t*>(rows[j]);
        for (std::size_t c = 0; c < cols_; ++c)
          to[c] = row[static_cast<std::int64_t>(c) * from_->col];
      } else {
        CopyRow(RowsView{rows[j], from_->dtype, false, 0, from_->col, nullptr}, 0, cols_, to);
      }
      std::fill(to + cols_, to + padded, 0.0f);
      if (InPairs(from_->dtype, cols_)) SplitColumns(to, cols_);
      rows[j] = to;
    }
  }

  const RowSource* from_ = nullptr;
  const PageTableView* pages_ = nullptr;
  std::int64_t batch_ = 0, head_ = 0, first_ = 0;
  std::size_t cols_ = 0;
  bool in_place_ = false;
};

// x -> round(127 x / max|x|), ties to even, and the scale max|x| / 127. A row with a NaN or an
// infinity keeps its fault: the scale becomes NaN, and so does whatever attends to it.
inline HWY_NOINLINE void QuantizeRow(const float* HWY_RESTRICT x, std::size_t n, std::int8_t* to,
                                     std::int64_t col, float* scale) {
  float most = 0;
  bool finite = true;
  for (std::size_t c = 0; c < n; ++c) {
    most = std::fmax(most, std::fabs(x[c]));
    finite &= x[c] - x[c] == 0;
  }
  *scale = finite ? most / 127.0f : std::nanf("");
  // Below, the quotient of two subnormal numbers would not be a number between -127 and 127.
  const bool any = finite && *scale >= 1.17549435e-38f;
  const float inverse = any ? 1.0f / *scale : 0.0f;
  if (finite && !any) *scale = 0.0f;
  for (std::size_t c = 0; c < n; ++c) {
    const float q = any ? std::nearbyint(x[c] * inverse) : 0.0f;
    to[static_cast<std::int64_t>(c) * col] = static_cast<std::int8_t>(q > 127.0f    ? 127.0f
                                                                      : q < -127.0f ? -127.0f
                                                                                    : q);
  }
}

inline HWY_NOINLINE void CopyCachedRow(const RowCopy& copy) {
  const auto n = static_cast<std::size_t>(copy.cols);
  if (copy.from_dtype == copy.to_dtype && copy.from_col == 1 && copy.to_col == 1) {
    std::memcpy(copy.to, copy.from, n * size_of(copy.from_dtype));
    return;
  }
  HWY_ALIGN float row[2048];
  if (copy.from_dtype == DType::kInt8) {
    for (std::size_t c = 0; c < n; ++c) {
      const std::int64_t at = static_cast<std::int64_t>(c) * copy.from_col;
      row[c] = static_cast<float>(static_cast<const std::int8_t*>(copy.from)[at]) * *copy.scale;
    }
  } else {
    CopyRow(RowsView{copy.from, copy.from_dtype, false, 0, copy.from_col, nullptr}, 0, n, row);
  }
  if (copy.to_dtype == DType::kInt8) {
    QuantizeRow(row, n, static_cast<std::int8_t*>(copy.to), copy.to_col, copy.scale);
  } else {
    WriteRow(row, RowsView{copy.to, copy.to_dtype, false, 0, copy.to_col, nullptr}, 0, n);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
