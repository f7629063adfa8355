// SPDX-License-Identifier: Apache-2.0
// The queries of a chunk and the gradients of their outputs, as the operands of tiles and sums.

#if defined(REGARD_KERNELS_CHUNK_QUERIES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_CHUNK_QUERIES_INL_H_
#undef REGARD_KERNELS_CHUNK_QUERIES_INL_H_
#else
#define REGARD_KERNELS_CHUNK_QUERIES_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/kernels/tile/ops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Gradient>
class ChunkQueries {
  using Ops = typename Gradient::Ops;
  using T = typename Ops::T;
  using Packed = typename Ops::Packed;
  static constexpr std::size_t kPair = Ops::kPair, kQueries = static_cast<std::size_t>(kQueryChunk);

 public:
  void Take(Carve& carve, std::size_t dim, std::size_t dim_v) {
    dim_ = dim, dim_v_ = dim_v;
    inner_ = Gradient::Inner(dim), inner_v_ = Ops::Inner(dim_v);
    const std::size_t panels = (dim + kWidth<T> - 1) / kWidth<T>,
                      panels_v = (dim_v + kWidth<T> - 1) / kWidth<T>;
    query_lanes_ = carve.Take<Packed>(kQueries * inner_);
    d_out_lanes_ = carve.Take<Packed>(kQueries * inner_v_);
    query_panel_memory_ = carve.Take<Packed>(panels * PanelStride());
    d_out_panel_memory_ = carve.Take<Packed>(panels_v * PanelStride());
  }

  // Rows [first, first + count) of the sequence.
  void Start(const RowsView& q, const RowsView& d_out, std::int64_t first, std::size_t count) {
    q_ = q, d_out_ = d_out;
    first_ = first, count_ = count;
    finite_ = true;
    std::fill_n(packed_, kQueries / kWidth<T>, false);
    queries_in_place_ = Gradient::kIsProduct && Ops::InPlace(q, first, count, dim_);
    query_panels_ = PanelsAt<Ops>(queries_in_place_, q, first, query_panel_memory_, PanelStride());
    d_outs_in_place_ = Ops::InPlace(d_out, first, count, dim_v_);
    d_out_panels_ =
        PanelsAt<Ops>(d_outs_in_place_, d_out, first, d_out_panel_memory_, PanelStride());
  }

  // Packs panel p, once.
  void Pack(std::size_t p, Gradient& gradient, const RowBuffers<T>& buffers) {
    packed_[p] = true;
    const std::size_t at = p * kWidth<T>, n = std::min(kWidth<T>, count_ - at);
    finite_ &= gradient.PackQueries(
        q_, first_ + static_cast<std::int64_t>(at), n, at, buffers, query_lanes_ + at * inner_,
        queries_in_place_ ? nullptr : query_panel_memory_ + at / kPair * kWidth<T>, PanelStride());
    finite_ &= gradient.PackOutputGradients(
        {d_out_, first_ + static_cast<std::int64_t>(at), n, at, dim_v_}, buffers, d_out_lanes_,
        inner_v_, d_outs_in_place_ ? nullptr : d_out_panel_memory_ + at / kPair * kWidth<T>,
        PanelStride(), &d_out_rows_);
  }
  bool IsPacked(std::size_t p) const { return packed_[p]; }
  // Whether all that has been packed is.
  bool Finite() const { return finite_; }

  const Packed* QueryLanes(std::size_t at) const { return query_lanes_ + at * inner_; }
  const Packed* GradientLanes(std::size_t at) const { return d_out_lanes_ + at * inner_v_; }
  const Panels<Packed>& QueryPanels() const { return query_panels_; }
  const Panels<Packed>& GradientPanels() const { return d_out_panels_; }
  // The gradients of outputs as rows of whole vectors, where the score takes products pair by pair.
  const Rows<Packed>& GradientRows() const { return d_out_rows_; }

 private:
  static constexpr std::size_t PanelStride() { return kQueries / kPair * kWidth<T>; }

  std::size_t dim_ = 0, dim_v_ = 0, inner_ = 0, inner_v_ = 0;
  Packed *query_lanes_ = nullptr, *d_out_lanes_ = nullptr, *query_panel_memory_ = nullptr,
         *d_out_panel_memory_ = nullptr;

  RowsView q_, d_out_;
  std::int64_t first_ = 0;
  std::size_t count_ = 0;
  bool finite_ = true, queries_in_place_ = false, d_outs_in_place_ = false;
  bool packed_[kQueries / kWidth<T>] = {};
  Panels<Packed> query_panels_{}, d_out_panels_{};
  Rows<Packed> d_out_rows_{};
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
