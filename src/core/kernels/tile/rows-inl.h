// SPDX-License-Identifier: Apache-2.0
// Rows of a strided view, of any dtype, as rows of the type that the kernel computes in; and back.

#if defined(REGARD_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ROWS_INL_H_
#undef REGARD_KERNELS_ROWS_INL_H_
#else
#define REGARD_KERNELS_ROWS_INL_H_
#endif

#include <cstring>
#include <limits>
#include <type_traits>

#include "core/kernels/tile/operands-inl.h"
#include "core/kernels/tile/simd-inl.h"
#include "core/kernels/tiling.h"
#include "regard/tensor_view.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// float16 -> float. Highway 1.0.3 knows no NaN or infinity where the processor has no instruction
// for it (SSE4, portable).
HWY_INLINE float WidenFloat16(std::uint16_t x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x & 0x8000u) << 16, rest = x & 0x7FFFu;
  std::uint32_t bits;
  if (rest >= 0x7C00u) {
    bits = 0x7F800000u | (rest & 0x3FFu) << 13;
  } else if (rest >= 0x400u) {
    bits = (rest << 13) + (112u << 23);
  } else {  // subnormal: so many units of 2^-24
    const float units = static_cast<float>(rest) * 0x1p-24f;
    std::memcpy(&bits, &units, 4);
  }
  bits |= sign;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}

template <class D>
HWY_INLINE hn::Vec<D> LoadFloat16(D d, const hwy::float16_t* from) {
  if constexpr (kConvertsFloat16) {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::float16_t, D>(), from));
  } else {
    float wide[hn::MaxLanes(D())];
    for (std::size_t i = 0; i < hn::MaxLanes(D()); ++i) {
      std::uint16_t narrow;
      std::memcpy(&narrow, from + i, 2);
      wide[i] = WidenFloat16(narrow);
    }
    return hn::LoadU(d, wide);
  }
}

// Conversions of one vector; D may be a vector of one lane, for tails and strided elements. A dtype
// that is not listed does not compile.
template <class D>
HWY_INLINE hn::Vec<D> LoadAs(D d, [[maybe_unused]] DType dtype, const void* base, std::int64_t at) {
  using T = hn::TFromD<D>;
  if constexpr (std::is_same_v<T, double>) {
    return hn::LoadU(d, static_cast<const double*>(base) + at);
  } else {
    switch (dtype) {
      case DType::kBFloat16:
        return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::bfloat16_t, D>(),
                                          static_cast<const hwy::bfloat16_t*>(base) + at));
      case DType::kFloat16: return LoadFloat16(d, static_cast<const hwy::float16_t*>(base) + at);
      case DType::kFloat32: return hn::LoadU(d, static_cast<const float*>(base) + at);
      case DType::kFloat64:  // read by kernels of double, or element by element (ElementAs)
      case DType::kBool:
      case DType::kInt32:
      case DType::kInt64:
      case DType::kInt8: break;  // refused by validate
    }
    return hn::Set(d, std::numeric_limits<T>::quiet_NaN());
  }
}

// Rounds to nearest even; Highway 1.0.3 cuts bits off.
template <class D>
HWY_INLINE void StoreBFloat16(D /*d*/, hn::Vec<D> x, std::uint16_t* to) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFu)));
  const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)),
                                   hn::Or(bits, hn::Set(du, 0x400000u)), rounded);
  const auto upper = hn::BitCast(di, hn::ShiftRight<16>(kept));
  hn::StoreU(hn::DemoteTo(hn::Rebind<std::uint16_t, D>(), upper), hn::Rebind<std::uint16_t, D>(),
             to);
}

// float -> float16, rounded to nearest even. Highway 1.0.3 cuts bits off where the processor has no
// instruction for it (SSE4, portable).
HWY_INLINE std::uint16_t RoundToFloat16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
  if (bits >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);  // rounds past 65504
  const std::uint32_t exponent = bits >> 23;
  if (exponent < 102) return sign;  // below half of the smallest subnormal
  const bool subnormal = exponent < 113;
  const std::uint32_t shift = subnormal ? 126 - exponent : 13;
  const std::uint32_t whole = subnormal ? (bits & 0x7FFFFFu) | 0x800000u : bits - (112u << 23);
  const std::uint32_t odd = whole >> shift & 1u;
  return static_cast<std::uint16_t>(sign | (whole + (1u << (shift - 1)) - 1u + odd) >> shift);
}

template <class D>
HWY_INLINE void StoreFloat16([[maybe_unused]] D d, hn::Vec<D> x, hwy::float16_t* to) {
  if constexpr (kConvertsFloat16) {
    const hn::Rebind<hwy::float16_t, D> narrow;
    hn::StoreU(hn::DemoteTo(narrow, x), narrow, to);
  } else {
    float wide[hn::MaxLanes(D())];
    hn::StoreU(x, d, wide);
    for (std::size_t i = 0; i < hn::MaxLanes(D()); ++i) {
      const std::uint16_t narrow = RoundToFloat16(wide[i]);
      std::memcpy(to + i, &narrow, 2);
    }
  }
}

template <class D>
HWY_INLINE void StoreAs(D d, hn::Vec<D> x, [[maybe_unused]] DType dtype, void* base,
                        std::int64_t at) {
  using T = hn::TFromD<D>;
  if constexpr (std::is_same_v<T, double>) {
    hn::StoreU(x, d, static_cast<double*>(base) + at);
  } else {
    switch (dtype) {
      case DType::kBFloat16: return StoreBFloat16(d, x, static_cast<std::uint16_t*>(base) + at);
      case DType::kFloat16: return StoreFloat16(d, x, static_cast<hwy::float16_t*>(base) + at);
      case DType::kFloat32: return hn::StoreU(x, d, static_cast<float*>(base) + at);
      case DType::kFloat64:  // written by kernels of double, or element by element (StoreElement)
      case DType::kBool:
      case DType::kInt32:
      case DType::kInt64:
      case DType::kInt8: break;  // refused by validate
    }
  }
}

template <typename T>
constexpr DType OwnDType() {
  return std::is_same_v<T, double> ? DType::kFloat64 : DType::kFloat32;
}

// Whether whole vectors of this dtype convert to T: a float kernel meets float64, and a double
// kernel the others, only in biases.
template <typename T>
constexpr bool InKernelWidth(DType dtype) {
  return (sizeof(T) == 8) == (dtype == DType::kFloat64);
}

// One element of any floating dtype.
template <typename T>
HWY_INLINE T ElementAs(DType dtype, const void* base, std::int64_t at) {
  if (dtype == DType::kFloat64) return static_cast<T>(static_cast<const double*>(base)[at]);
  return static_cast<T>(hn::GetLane(LoadAs(hn::CappedTag<float, 1>(), dtype, base, at)));
}
template <typename T>
HWY_INLINE void StoreElement(T x, DType dtype, void* base, std::int64_t at) {
  if (dtype == DType::kFloat64) {
    static_cast<double*>(base)[at] = static_cast<double>(x);
  } else {
    const hn::CappedTag<float, 1> d;
    StoreAs(d, hn::Set(d, static_cast<float>(x)), dtype, base, at);
  }
}

// One head of a view: row i starts at element At(i) of `base`, its columns are `col` apart.
struct RowsView {
  const void* base = nullptr;
  DType dtype = DType::kFloat32;
  bool prefetch = false;  // its rows are more than a cache holds: they are prefetched
  std::int64_t row = 0, col = 0;
  const std::int32_t* order =
      nullptr;  // where rows are counted in another order than they lie: which one the i-th is

  template <class View>
  static RowsView of(const View& view, std::int64_t batch, std::int64_t head,
                     std::int64_t first_row, const std::int32_t* order = nullptr,
                     bool prefetch = false) {
    const std::int64_t at =
        batch * view.strides[0] + head * view.strides[1] + first_row * view.strides[2];
    const char* base = static_cast<const char*>(static_cast<const void*>(view.data)) +
                       at * static_cast<std::int64_t>(size_of(view.dtype));
    return {base, view.dtype, prefetch, view.strides[2], view.strides[3], order};
  }
  std::int64_t At(std::int64_t i) const { return (order == nullptr ? i : order[i]) * row; }
  // Whether rows [first, first + n) lie one after another.
  bool InOrder(std::int64_t first, std::int64_t n) const {
    if (order == nullptr) return true;
    for (std::int64_t i = first + 1; i < first + n; ++i) {
      if (order[i] != order[i - 1] + 1) return false;
    }
    return true;
  }
};

// Rows [first, first + n) of a head, which are those of a chunk from `at` on, with `dim` columns.
struct ChunkRows {
  const RowsView& head;
  std::int64_t first;
  std::size_t n, at, dim;
};

// Memory for rows that are copied out of a tensor: [kWidth or kRows, the larger][stride], and one
// row of zeros.
template <typename T>
struct RowBuffers {
  T* copies;
  std::size_t stride;
  const T* zeros;
};

// Prefetches a row that will be read, or written, soon.
template <bool kWrite>
HWY_INLINE void PrefetchRow(const RowsView& head, std::int64_t i, std::size_t cols) {
  const char* row = static_cast<const char*>(head.base) +
                    head.At(i) * static_cast<std::int64_t>(size_of(head.dtype));
  const std::size_t bytes = cols * size_of(head.dtype);
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, kWrite ? 1 : 0, 3);
}

// The same for rows of a small group, where the head's rows are prefetched: the processor's own
// prefetcher sees no pattern in such groups. `n` may be below 0.
template <bool kWrite = false>
HWY_INLINE void PrefetchRows(const RowsView& head, std::int64_t first, std::int64_t n,
                             std::size_t cols) {
  if (!head.prefetch || head.col != 1) return;
  for (std::int64_t i = first; i < first + n; ++i) PrefetchRow<kWrite>(head, i, cols);
}

// Copies `cols` elements of row i into `to`.
template <typename T>
HWY_NOINLINE void CopyRow(const RowsView& head, std::int64_t i, std::size_t cols,
                          T* HWY_RESTRICT to) {
  const Tag<T> d;
  const std::int64_t at = head.At(i);
  std::size_t c = 0;
  if (head.col == 1 && InKernelWidth<T>(head.dtype)) {
    for (; c + kLanes<T> <= cols; c += kLanes<T>)
      hn::StoreU(LoadAs(d, head.dtype, head.base, at + static_cast<std::int64_t>(c)), d, to + c);
  }
  for (; c < cols; ++c)
    to[c] = ElementAs<T>(head.dtype, head.base, at + static_cast<std::int64_t>(c) * head.col);
}

// Rows [first, first + n), times a factor, and zeros for the rest of kRows rows, `stride` apart,
// which has room for whole vectors. Returns whether all is finite.
template <typename T>
HWY_NOINLINE bool CopyScaledRows(const RowsView& head, std::int64_t first, std::size_t n,
                                 std::size_t cols, T factor, T* to, std::size_t stride) {
  const Tag<T> d;
  const auto times = hn::Set(d, factor);
  const bool whole = head.col == 1 && InKernelWidth<T>(head.dtype);  // vectors can be read
  auto seen = hn::Zero(d);
  bool tails_finite = true;
  for (std::size_t r = 0; r < n; ++r, to += stride) {
    const std::int64_t i = first + static_cast<std::int64_t>(r), at = head.At(i);
    if (!whole) CopyRow(head, i, cols, to);
    std::size_t c = 0;
    for (; c + kLanes<T> <= cols; c += kLanes<T>) {
      const auto read = whole ? LoadAs(d, head.dtype, head.base, at + static_cast<std::int64_t>(c))
                              : hn::LoadU(d, to + c);
      const auto x = hn::Mul(read, times);
      seen = See<T>(seen, x);
      hn::StoreU(x, d, to + c);
    }
    for (; c < cols; ++c) {
      to[c] =
          (whole ? ElementAs<T>(head.dtype, head.base, at + static_cast<std::int64_t>(c)) : to[c]) *
          factor;
      tails_finite &= to[c] - to[c] == T{0};
    }
  }
  for (std::size_t r = n; r < kRows; ++r, to += stride) {
    for (std::size_t c = 0; c < cols; c += kLanes<T>) hn::StoreU(hn::Zero(d), d, to + c);
  }
  return tails_finite && AllFinite<T>(seen);
}

// Whether a head's rows lie in whole vectors.
template <typename T>
HWY_INLINE bool InVectors(const RowsView& head, std::size_t cols) {
  return head.dtype == OwnDType<T>() && head.col == 1 && cols % kLanes<T> == 0;
}

// Row i of a head in whole vectors, with zeros behind its last column: in the tensor itself, or in
// `copy`, which has room for it.
template <typename T>
HWY_INLINE const T* RowInVectors(const RowsView& head, std::int64_t i, std::size_t cols,
                                 T* HWY_RESTRICT copy) {
  if (InVectors<T>(head, cols)) return static_cast<const T*>(head.base) + head.At(i);
  CopyRow(head, i, cols, copy);
  for (std::size_t c = cols; c % kLanes<T> != 0; ++c) copy[c] = T{0};
  return copy;
}

// Rows [first, first + n) of a head in whole vectors, with zeros behind their last column: in the
// tensor itself, or copied to `to`, `stride` apart.
template <typename T>
HWY_INLINE Rows<T> RowsInVectors(const RowsView& head, std::int64_t first, std::size_t n,
                                 std::size_t cols, T* HWY_RESTRICT to, std::size_t stride) {
  if (InVectors<T>(head, cols) && head.order == nullptr)
    return {static_cast<const T*>(head.base) + head.At(first), head.row};
  for (std::size_t r = 0; r < n; ++r) {
    T* HWY_RESTRICT copy = to + r * stride;
    CopyRow(head, first + static_cast<std::int64_t>(r), cols, copy);
    for (std::size_t c = cols; c % kLanes<T> != 0; ++c) copy[c] = T{0};
  }
  return {to, static_cast<std::int64_t>(stride)};
}

// to[r * kWidth + lane] = the inner product of row r of `rows` with row `lane` of `lanes`: `cols`
// columns, and zeros up to whole vectors. Zeros in the lanes behind.
template <typename T>
HWY_NOINLINE void RowProducts(Rows<T> rows, std::size_t n, Rows<T> lanes, std::size_t count,
                              std::size_t cols, T* HWY_RESTRICT to) {
  const Tag<T> d;
  for (std::size_t r = 0; r < n; ++r) {
    const T* HWY_RESTRICT a = rows.row(static_cast<std::int64_t>(r)).data;
    for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>)
      hn::Store(hn::Zero(d), d, to + r * kWidth<T> + lane);
    for (std::size_t lane = 0; lane < count; ++lane) {
      const T* HWY_RESTRICT b = lanes.row(static_cast<std::int64_t>(lane)).data;
      auto sum = hn::Zero(d), other = hn::Zero(d);
      for (std::size_t c = 0; c < cols; c += 2 * kLanes<T>) {
        sum = hn::MulAdd(hn::LoadU(d, a + c), hn::LoadU(d, b + c), sum);
        if (c + kLanes<T> < cols)
          other =
              hn::MulAdd(hn::LoadU(d, a + c + kLanes<T>), hn::LoadU(d, b + c + kLanes<T>), other);
      }
      to[r * kWidth<T> + lane] = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum, other)));
    }
  }
}

// Writes `cols` elements to row i of a view's head (the data behind it is mutable where this is
// called).
template <typename T>
HWY_NOINLINE void WriteRow(const T* HWY_RESTRICT from, const RowsView& head, std::int64_t i,
                           std::size_t cols) {
  const Tag<T> d;
  void* base = const_cast<void*>(head.base);
  const std::int64_t at = head.At(i);
  std::size_t c = 0;
  if (head.col == 1 && InKernelWidth<T>(head.dtype)) {
    for (; c + kLanes<T> <= cols; c += kLanes<T>)
      StoreAs(d, hn::LoadU(d, from + c), head.dtype, base, at + static_cast<std::int64_t>(c));
  }
  for (; c < cols; ++c)
    StoreElement(from[c], head.dtype, base, at + static_cast<std::int64_t>(c) * head.col);
}

// Rows as pointers to T: into the tensor itself where it already holds T side by side, else into
// `copies` ([n][stride]).
template <typename T>
HWY_INLINE void PointAtRows(const RowsView& head, std::int64_t first, std::size_t n,
                            std::size_t cols, T* HWY_RESTRICT copies, std::size_t stride,
                            const T** rows) {
  PrefetchRows(head, first, static_cast<std::int64_t>(n), cols);
  if (head.dtype == OwnDType<T>() && head.col == 1) {
    for (std::size_t r = 0; r < n; ++r)
      rows[r] = static_cast<const T*>(head.base) + head.At(first + static_cast<std::int64_t>(r));
    return;
  }
  for (std::size_t r = 0; r < n; ++r) {
    rows[r] = copies + r * stride;
    CopyRow(head, first + static_cast<std::int64_t>(r), cols, copies + r * stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
