// SPDX-License-Identifier: Apache-2.0
// Scores that are scaled dot products: what Forward and Backward need of a score, answered by
// products of packed operands.

#if defined(REGARD_KERNELS_DOT_SCORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_DOT_SCORE_INL_H_
#undef REGARD_KERNELS_DOT_SCORE_INL_H_
#else
#define REGARD_KERNELS_DOT_SCORE_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"
#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/softmax-inl.h"
#include "core/kernels/tile/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The forward pass: packs queries as rows and keys as lanes, and makes tiles of them.
template <class Operations>
class DotScore {
 public:
  using Ops = Operations;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  // Whether weights may come straight from a tile's accumulators (WeighPanel).
  static constexpr bool kInRegisters = true;

  static std::size_t Inner(std::size_t dim) { return Ops::Inner(dim); }
  DotScore(const ForwardTask& task, Carve& /*carve*/)
      : dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        inner_(Inner(dim_)),
        factor_(static_cast<T>(task.scale)) {}

  // Called before any other for a sequence and kv head. Returns the rows that PackKeys will read.
  RowsView Start(const plan::Sequence& /*sequence*/, const RowsView& k, std::int64_t /*kv_head*/) {
    return k;
  }
  // Rows [first, first + n) of a query head, as a tile reads them; `index` counts the item's rows,
  // `to` is memory for kRows of them.
  Rows<Packed> PackQueries(const RowsView& q, std::int64_t first, std::size_t n,
                           std::size_t /*index*/, const RowBuffers<T>& buffers, Packed* to) {
    return Ops::RowsOf(q, first, n, dim_, Ops::kScaleWhilePacking ? factor_ : T{1}, buffers, to,
                       RowStride(inner_), false);
  }
  // Keys [first, first + n) of the kv head; `lane` counts the chunk's keys.
  void PackKeys(const RowsView& k, std::int64_t first, std::size_t n, std::size_t /*lane*/,
                const RowBuffers<T>& buffers, Packed* to) {
    Ops::PackLanesOf(k, first, n, dim_, T{1}, buffers, to);
  }
  // Fills tile.data. The tile's first row is row `row` of the item, its first lane lane `lane` of
  // the chunk.
  void Tile(const ScoreTile<T>& tile, std::size_t /*row*/, std::size_t /*lane*/, Rows<Packed> q,
            const Packed* k) const {
    REGARD_FOR_ROWS(tile.rows, (ScorePanel<Ops, M>(q, k, inner_, factor_, tile.data)));
  }

 private:
  const std::size_t dim_, inner_;
  const T factor_;
};

// The backward pass: keys are rows, queries lanes. The gradients of queries and keys are products
// too, which Backward makes itself.
template <class Operations>
class DotGradient {
 public:
  using Ops = Operations;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr bool kIsProduct = true;
  static constexpr bool MultipliesPairs() { return false; }

  static std::size_t Inner(std::size_t dim) { return DotScore<Ops>::Inner(dim); }
  DotGradient(const BackwardTask& task, std::size_t /*most_keys*/, Carve& /*carve*/)
      : dim_(static_cast<std::size_t>(task.inputs.q.shape[3])),
        inner_(Inner(dim_)),
        factor_(static_cast<T>(task.scale)),
        staged_(!task.stages.empty() || !task.weight_stages.empty()) {}

  void Start(const plan::Sequence& /*sequence*/, const RowsView& /*k*/, std::int64_t /*kv_head*/,
             const RowsView& /*to*/) {}
  // Keys of a block: as rows, kRows of them an entry of `rows`, for which `row_memory` has kRows *
  // RowStride(inner) elements each; and as panels, unless `panels` is null because they lie ready;
  // or, for a matrix unit, transposed. Returns whether all is finite.
  bool PackKeys(const RowsView& k, std::int64_t first, std::size_t n, const RowBuffers<T>& buffers,
                Rows<Packed>* rows, Packed* row_memory, Packed* panels, std::size_t panel_stride) {
    bool finite = true;
    for (std::size_t at = 0; at < n; at += kRows) {
      const std::size_t count = std::min(kRows, n - at), stride = RowStride(inner_);
      Packed* to = row_memory + at * stride;
      rows[at / kRows] = Ops::RowsOf(k, first + static_cast<std::int64_t>(at), count, dim_, T{1},
                                     buffers, to, stride, staged_, &finite);
      if (Ops::kMatrixUnit || panels == nullptr) continue;
      const Packed* copies[kRows];
      for (std::size_t r = 0; r < kRows; ++r)
        copies[r] = rows[at / kRows].row(static_cast<std::int64_t>(r)).data;
      finite &= Ops::PanelsOfRows(copies, RoundUp(count, Ops::kPair), dim_, panel_stride,
                                  panels + at / Ops::kPair * kWidth<T>);
    }
    if constexpr (Ops::kMatrixUnit)
      finite = Ops::PackTransposed(k, first, n, dim_, buffers, panels);
    return finite;
  }
  void PrefetchValues(const RowsView& /*v*/, std::int64_t /*first*/, std::size_t /*keys*/,
                      std::size_t /*dim_v*/) {}
  // Values as rows of a tile, for dP; `to` is memory for kRows of them.
  Rows<Packed> ValueRows(const RowsView& v, std::int64_t first, std::size_t n, std::size_t dim_v,
                         bool staged, const RowBuffers<T>& buffers, Packed* to) {
    return Ops::RowsOf(v, first, n, dim_v, T{1}, buffers, to, RowStride(Ops::Inner(dim_v)), staged);
  }
  // A head of the keys' group begins.
  void StartHead(std::int64_t /*batch*/, std::int64_t /*head*/) {}
  // Queries from `first` on are about to be packed, for pairs with the block's keys.
  void StartChunk(const RowsView& /*q*/, std::int64_t /*first*/) {}
  // A panel of them, as lanes and, unless `panels` is null, as a panel; `lane` counts the chunk's
  // queries. Returns whether all is finite.
  bool PackQueries(const RowsView& q, std::int64_t first, std::size_t n, std::size_t /*lane*/,
                   const RowBuffers<T>& buffers, Packed* lanes, Packed* panels,
                   std::size_t panel_stride) {
    // The scale goes where the forward pass put it: the scores then have the same bits, and the
    // weights add up to 1.
    const T factor = Ops::kScaleWhilePacking ? factor_ : T{1};
    return Ops::PackBothOf(q, first, n, dim_, factor, panel_stride, buffers, lanes, panels);
  }

  // The gradients of outputs: as lanes, of which the chunk's have `inner` elements each; and,
  // unless `panels` is null, as panels. Returns whether all is finite.
  bool PackOutputGradients(const ChunkRows& rows, const RowBuffers<T>& buffers, Packed* lanes,
                           std::size_t inner, Packed* panels, std::size_t panel_stride,
                           Rows<Packed>* /*as_rows*/) {
    return Ops::PackBothOf(rows.head, rows.first, rows.n, rows.dim, T{1}, panel_stride, buffers,
                           lanes + rows.at * inner, panels);
  }

  // Fills tile.data. The tile's first row is key `row` of the block, its first lane query `lane` of
  // the chunk.
  void Tile(const ScoreTile<T>& tile, std::size_t /*row*/, std::size_t /*lane*/, Rows<Packed> k,
            const Packed* q) const {
    ScorePanel<Ops, kRows>(k, q, inner_, factor_, tile.data);
  }
  // dP = V dO^T of a tile (BackwardTile). `memory` has room for it.
  template <class Operands, class Sums>
  HWY_INLINE void MultiplyValues(const Operands& tile, const ScoreTile<T>& /*score_tile*/,
                                 T* /*memory*/, Sums& acc) const {
    AccumulateScores(tile.values, tile.d_outs, tile.inner_v, acc);
  }

  // dv += P^T dO without packed operands; returns whether that was done.
  template <class Sums>
  bool WriteValueGradients(Sums& /*dv*/, std::size_t /*group*/, std::size_t /*groups*/,
                           std::size_t /*keys*/, const Runs* /*seen*/, const Packed* /*weights*/,
                           const Rows<Packed>& /*d_outs*/, std::size_t /*queries*/) {
    return false;
  }
  // Backward's products are all there is.
  template <class Sums>
  void FinishQueries(const Sums& /*dq*/, std::size_t /*queries*/) const {}
  void EndHead(std::int64_t /*of_group*/, std::size_t /*slot*/, std::size_t /*keys*/) {}
  void WriteKeys(std::size_t /*keys*/, std::size_t /*owned*/, T* /*row*/,
                 const T* /*zeros*/) const {}
  void Finish() {}

 private:
  const std::size_t dim_, inner_;
  const T factor_;
  const bool staged_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
