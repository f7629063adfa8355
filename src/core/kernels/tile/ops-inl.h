// SPDX-License-Identifier: Apache-2.0
// What a tile's multiply-add is made of: plain float and double. (Pairs of bfloat16:
// bf16_pairs-inl.h.)

#if defined(REGARD_KERNELS_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_OPS_INL_H_
#undef REGARD_KERNELS_OPS_INL_H_
#else
#define REGARD_KERNELS_OPS_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "core/kernels/tile/acc-inl.h"
#include "core/kernels/tile/exp-inl.h"
#include "core/kernels/tile/operands-inl.h"
#include "core/kernels/tile/pack-inl.h"
#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The tile's multiply-add alone, by vectors of half the lanes.
template <typename Float>
struct HalfOps {
  using T = Float;
  using Packed = Float;
  using D = hn::Half<Tag<Float>>;
  static constexpr bool kMatrixUnit = false;

  static HWY_INLINE hn::Vec<D> LoadPacked(const Packed* HWY_RESTRICT p) {
    return hn::LoadU(D(), p);
  }
  static HWY_INLINE hn::Vec<D> Broadcast(const Packed* HWY_RESTRICT p) { return hn::Set(D(), *p); }
  static HWY_INLINE hn::Vec<D> MulAcc(hn::Vec<D> acc, hn::Vec<D> a, hn::Vec<D> b) {
    return hn::MulAdd(a, b, acc);
  }

  using Element = T;
  static constexpr DType kElement = OwnDType<T>();
  template <std::size_t V>
  static HWY_INLINE void StoreElements(const hn::Vec<D>* x, Element* HWY_RESTRICT to) {
    static_assert(V == 1);
    hn::StoreU(x[0], D(), to);
  }
};

// `T` is what sums are kept in and `D` its vectors, `Packed` one element of a packed operand, which
// holds kPair neighbours of the dimension that is summed. `Half` is for columns that fill no more
// than half a vector, of which some processors that split the vectors of AVX-512 multiply twice as
// many; Ops itself where there is nothing to gain.
template <typename Float>
struct PlainOps {
  using T = Float;
  using Packed = Float;
  using D = Tag<T>;
  using Half = std::conditional_t<kHalfVectors, HalfOps<Float>, PlainOps>;
  static constexpr std::size_t kPair = 1;
  // Products are made in registers; no session of a matrix unit (amx_bf16-inl.h) is needed.
  static constexpr bool kMatrixUnit = false;
  struct Session {};
  // Packed elements of `cols` columns.
  static constexpr std::size_t Inner(std::size_t cols) { return cols; }

  static HWY_INLINE Vec<T> LoadPacked(const Packed* HWY_RESTRICT p) {
    return hn::LoadU(Tag<T>(), p);
  }
  static HWY_INLINE Vec<T> Broadcast(const Packed* HWY_RESTRICT p) { return hn::Set(Tag<T>(), *p); }
  static HWY_INLINE Vec<T> MulAcc(Vec<T> acc, Vec<T> a, Vec<T> b) { return hn::MulAdd(a, b, acc); }

  // Scores come out of the product finished: the scale was folded into the queries while they were
  // packed.
  static constexpr bool kScaleWhilePacking = true;
  static HWY_INLINE Vec<T> ScoreOf(Vec<T> acc, T /*factor*/) { return acc; }
  // e^(score - maximum) of products, with a power of two that `end` knows; a score is `factor`
  // times one.
  static HWY_INLINE Vec<T> Weight(Vec<T> acc, T /*factor*/, Vec<T> maximum,
                                  const ExpEnd<Vec<T>>& end) {
    return Exp(hn::Sub(acc, maximum), end);
  }

  // MulAcc where b may be NaN or infinite in what this row does not see: there a is 0, and b counts
  // as 0.
  static HWY_INLINE Vec<T> MulAccSelecting(Vec<T> acc, Packed a, const Packed* HWY_RESTRICT b) {
    const Tag<T> d;
    return a == Packed{0} ? acc : hn::MulAdd(hn::Set(d, a), hn::LoadU(d, b), acc);
  }

  // Operands of `n` rows of a head, from `first` on. What a tile or panel lacks in rows counts as
  // zeros.
  //
  // Rows become lanes of a panel, [cols][kWidth], scaled.
  static HWY_INLINE void PackLanesOf(const RowsView& head, std::int64_t first, std::size_t n,
                                     std::size_t cols, T scale, const RowBuffers<T>& buffers,
                                     Packed* HWY_RESTRICT to) {
    const T* rows[kWidth<T>];
    std::fill_n(rows, kWidth<T>, buffers.zeros);
    PointAtRows(head, first, n, cols, buffers.copies, buffers.stride, rows);
    PackLanes(rows, n, cols, scale, to);
  }
  // Up to kRows rows, scaled: copied to `to`, [kRows][stride], unless tiles can read them where
  // they lie. They read kRows rows where `padded`, else `n` rounded up to thirds of that. `finite`
  // becomes false where something is not.
  static HWY_INLINE Rows<Packed> RowsOf(const RowsView& head, std::int64_t first, std::size_t n,
                                        std::size_t cols, T scale, const RowBuffers<T>& /*buffers*/,
                                        Packed* HWY_RESTRICT to, std::size_t stride, bool padded,
                                        bool* finite = nullptr) {
    if (scale == T{1} && RowsInPlace(head, first, n, cols, padded)) {
      if (finite != nullptr) *finite &= FiniteInPlace(head, first, n, cols);
      return {static_cast<const T*>(head.base) + head.At(first), head.row};
    }
    PrefetchRows(head, first, static_cast<std::int64_t>(n), cols);
    const bool all = CopyScaledRows(head, first, n, cols, scale, to, stride);
    if (finite != nullptr) *finite &= all;
    return {to, static_cast<std::int64_t>(stride)};
  }
  // Whether columns can be read from the tensor, by whole vectors, and are few enough for it.
  static HWY_INLINE bool InPlace(const RowsView& head, std::int64_t first, std::size_t n,
                                 std::size_t cols) {
    return LiesReady(head) && cols % kLanes<T> == 0 && n * cols * sizeof(T) <= kMostInPlace &&
           head.InOrder(first, static_cast<std::int64_t>(n));
  }
  static HWY_INLINE Panels<Packed> PanelsInPlace(const RowsView& head, std::int64_t first) {
    return {static_cast<const T*>(head.base) + head.At(first), head.row, kWidth<T>};
  }
  static HWY_INLINE bool FiniteInPlace(const RowsView& head, std::int64_t first, std::size_t n,
                                       std::size_t cols) {
    auto seen = hn::Zero(Tag<T>());
    for (std::size_t r = 0; r < n; ++r) {
      const T* row =
          static_cast<const T*>(head.base) + head.At(first + static_cast<std::int64_t>(r));
      for (std::size_t c = 0; c < cols; c += kLanes<T>)
        seen = See<T>(seen, hn::LoadU(Tag<T>(), row + c));
    }
    return AllFinite<T>(seen);
  }
  // `n` rows, a multiple of kPair, as PackPanels makes panels. Returns whether all is finite.
  static HWY_INLINE bool PanelsOfRows(const Packed* const* rows, std::size_t n, std::size_t cols,
                                      std::size_t panel_stride, Packed* HWY_RESTRICT to) {
    return PackPanels(rows, n, cols, panel_stride, to);
  }
  static HWY_INLINE bool PackPanelsOf(const RowsView& head, std::int64_t first, std::size_t n,
                                      std::size_t padded, std::size_t cols,
                                      std::size_t panel_stride, const RowBuffers<T>& buffers,
                                      Packed* HWY_RESTRICT to) {
    bool finite = true;
    const T* rows[kWidth<T>];
    for (std::size_t done = 0; done < padded; done += kWidth<T>) {
      const std::size_t count = std::min(kWidth<T>, padded - done);
      const std::size_t real = done < n ? std::min(count, n - done) : 0;
      PointAtRows(head, first + static_cast<std::int64_t>(done), real, cols, buffers.copies,
                  buffers.stride, rows);
      for (std::size_t r = real; r < count; ++r) rows[r] = buffers.zeros;
      finite &= PanelsOfRows(rows, count, cols, panel_stride, to + done * kWidth<T>);
    }
    return finite;
  }
  // Up to kWidth rows, looked at once, as lanes and, unless `panels` is null, as panels. Returns
  // whether all is finite.
  static HWY_INLINE bool PackBothOf(const RowsView& head, std::int64_t first, std::size_t n,
                                    std::size_t cols, T scale, std::size_t panel_stride,
                                    const RowBuffers<T>& buffers, Packed* HWY_RESTRICT lanes,
                                    Packed* HWY_RESTRICT panels) {
    const T* rows[kWidth<T>];
    std::fill_n(rows, kWidth<T>, buffers.zeros);
    PointAtRows(head, first, n, cols, buffers.copies, buffers.stride, rows);
    if (panels == nullptr) return PackLanes<true>(rows, n, cols, scale, lanes);
    // Panels first: they read row after row, which the processor foresees.
    const bool finite = PanelsOfRows(rows, n, cols, panel_stride, panels);
    PackLanes(rows, n, cols, scale, lanes);
    return finite;
  }

  // Elements of tensors that results go to straight from registers, and how V vectors of them are
  // stored.
  using Element = T;
  static constexpr DType kElement = OwnDType<T>();
  template <std::size_t V>
  static HWY_INLINE void StoreElements(const Vec<T>* x, Element* HWY_RESTRICT to) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < V; ++v) hn::StoreU(x[v], Tag<T>(), to + v * kLanes<T>);
  }

  // Stores one row of a tile (two vectors) for use as the broadcast operand of the next product.
  static HWY_INLINE void StoreRow(Vec<T> x0, Vec<T> x1, Packed* HWY_RESTRICT p) {
    hn::Store(x0, Tag<T>(), p);
    hn::Store(x1, Tag<T>(), p + kLanes<T>);
  }
  // The same where one vector is at hand, of lanes from `lane` on; the other is zeros.
  static HWY_INLINE void StoreHalfRow(Vec<T> x, std::size_t lane, Packed* HWY_RESTRICT p) {
    hn::Store(x, Tag<T>(), p + lane);
    hn::Store(hn::Zero(Tag<T>()), Tag<T>(), p + kLanes<T> - lane);
  }
  // A tile of dS for dq, summed over keys: the rows that StoreRow stored serve as they are.
  template <std::size_t M, class Tile>
  static HWY_INLINE void StoreByQuery(const Tile& /*d_scores*/, std::size_t /*lane*/,
                                      Packed* /*to*/) {}
  static constexpr bool kSeparateByQuery = false;

  static constexpr const char* kTarget = nullptr;  // the instruction set's own name

 private:
  // Whether tiles can read these rows from the tensor: all that they read, near, and not so far
  // apart that a few lines of the first-level cache would have to hold them all.
  static HWY_INLINE bool RowsInPlace(const RowsView& head, std::int64_t first, std::size_t n,
                                     std::size_t cols, bool padded) {
    constexpr std::int64_t kMostApart = 1024 / sizeof(T);
    return LiesReady(head) && !head.prefetch && (n == kRows || (!padded && n % (kRows / 3) == 0)) &&
           cols % kLanes<T> == 0 && head.row <= kMostApart &&
           head.InOrder(first, static_cast<std::int64_t>(n));
  }
  static HWY_INLINE bool LiesReady(const RowsView& head) {
    return head.dtype == OwnDType<T>() && head.col == 1;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
