// SPDX-License-Identifier: Apache-2.0
// Products of the decode pass in pairs of bfloat16, for queries of bfloat16 over keys and values of
// bfloat16 or int8. Sums are float; weights are rounded to bfloat16 before they multiply values.
// A matrix unit multiplies (pair_matrix-inl.h).

#if defined(REGARD_KERNELS_PAIR_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PAIR_PRODUCTS_INL_H_
#undef REGARD_KERNELS_PAIR_PRODUCTS_INL_H_
#else
#define REGARD_KERNELS_PAIR_PRODUCTS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/decode/pair_matrix-inl.h"
#include "core/kernels/decode/pair_rows-inl.h"
#include "core/kernels/decode_task.h"
#include "core/kernels/tile/bf16_pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

class PairProducts {
  static constexpr std::size_t kMostRows = static_cast<std::size_t>(kDecodeRows);
  static constexpr std::size_t kWords = PairSums::kWords;
  static constexpr std::size_t kPanels = kDecodeBlock / kWidth<float>;

 public:
  using Session = PairMatrix::Session;

  PairProducts(const DecodeTask& task, Carve& carve)
      : dim_(static_cast<std::size_t>(task.dim)),
        dim_v_(static_cast<std::size_t>(task.dim_v)),
        scale_(static_cast<float>(task.pass->scale)),
        queries_(carve.Take<std::uint32_t>(kMostRows * dim_ / 2)),
        keys_(carve.Take<std::uint32_t>(kDecodeBlock * dim_ / 2)),
        values_(carve.Take<std::uint32_t>(kDecodeBlock / 2 * dim_v_)),
        weights_(carve.Take<std::uint32_t>(kPanels * kMostRows * kWords)),
        row_(carve.Take<std::uint16_t>(2 * std::max(dim_, dim_v_))),
        zeros_(carve.Take<std::uint16_t>(std::max(dim_, dim_v_))) {
    if (zeros_ != nullptr) std::fill_n(zeros_, std::max(dim_, dim_v_), std::uint16_t{0});
  }

  // As those of FloatProducts.
  void StoreQuery(const RowsView& q, std::int64_t i, std::size_t r, DType keys) {
    auto* words = reinterpret_cast<std::uint32_t*>(row_ + dim_);
    CopyBFloat16(q, i);
    OrderQuery(row_, dim_, keys == DType::kInt8, words);
    PairMatrix::StoreQuery(words, dim_, r, queries_);
  }

  void Multiply(std::size_t rows, const BlockOfRows& keys, float* scores) {
    HWY_ALIGN float scales[kDecodeBlock];
    for (std::size_t j = 0; j < kDecodeBlock; ++j)
      scales[j] = keys.scales == nullptr ? scale_ : scale_ * keys.scales[j];
    const void* widened[kDecodeBlock];
    const bool widen = keys.dtype == DType::kInt8;
    for (std::size_t j = 0; widen && j < RoundUp(keys.n, kLanes<float>); ++j) {
      std::uint32_t* to = keys_ + j * dim_ / 2;
      PrefetchRow(keys, j, dim_);
      WidenKey(keys.rows[j], dim_, to);
      widened[j] = to;
    }
    PairMatrix::Multiply({queries_, rows, dim_, scales, keys_, scores}, widen ? widened : keys.rows,
                         widen ? nullptr : keys.next, keys.n);
  }

  void Sum(std::size_t rows, const float* weights, bool zeros, const BlockOfRows& values,
           float* state, std::size_t stride) {
    const std::size_t panels = (values.n + kWidth<float> - 1) / kWidth<float>;
    RoundWeights(rows, panels, weights);
    const std::size_t pairs = RoundUp(values.n, 2 * PairMatrix::kPairsAtOnce) / 2;
    if (values.dtype == DType::kInt8) {
      PairBlock<std::int8_t>(values, pairs);
    } else {
      PairBlock<hwy::bfloat16_t>(values, pairs);
    }
    const PairSums sums{weights_, kMostRows, rows, values_, pairs, dim_v_, state, stride};
    if (HWY_UNLIKELY(zeros && values.dtype != DType::kInt8 &&
                     !FiniteRows<hwy::bfloat16_t>(values.rows, values.n, dim_v_))) {
      SumSelected(sums);
    } else {
      PairMatrix::Sum(sums);
    }
  }

  // Columns of a row of a state into their order.
  void Reorder(float* row, DType values) const {
    if (values == DType::kInt8) return;
    float ordered[kPairStep];
    for (std::size_t c = 0; c < dim_v_; c += kPairStep) {
      for (std::size_t at = 0; at < kPairStep; ++at) ordered[ColumnOfPair(at)] = row[c + at];
      std::copy_n(ordered, kPairStep, row + c);
    }
  }

 private:
  void CopyBFloat16(const RowsView& q, std::int64_t i) {
    const auto* from = static_cast<const std::uint16_t*>(q.base) + q.At(i);
    for (std::size_t c = 0; c < dim_; ++c) row_[c] = from[static_cast<std::int64_t>(c) * q.col];
  }

  void RoundWeights(std::size_t rows, std::size_t panels, const float* HWY_RESTRICT weights) {
    const Tag<float> d;
    for (std::size_t p = 0; p < panels; ++p) {
      for (std::size_t r = 0; r < rows; ++r, weights += kWidth<float>) {
        const auto low = hn::Load(d, weights), high = hn::Load(d, weights + kLanes<float>);
        hn::Store(Bf16PairOps::Round(low, high), Tag<std::uint32_t>(),
                  weights_ + (p * kMostRows + r) * kWords);
      }
    }
  }

  // Of one row after another, since each is at hand once.
  static HWY_INLINE void PrefetchRow(const BlockOfRows& block, std::size_t j, std::size_t cols) {
    if (block.next == nullptr) return;
    for (std::size_t at = 0; at < cols * size_of(block.dtype); at += 64)
      __builtin_prefetch(static_cast<const char*>(block.next[j]) + at, 0, 2);
  }

  template <typename E>
  void PairBlock(const BlockOfRows& values, std::size_t pairs) {
    for (std::size_t i = 0; i < pairs; ++i) {
      std::uint32_t* to = values_ + i * dim_v_;
      if (2 * i >= values.n) {
        std::fill_n(to, dim_v_, std::uint32_t{0});
        continue;
      }
      PrefetchRow(values, 2 * i, dim_v_);
      PrefetchRow(values, 2 * i + 1, dim_v_);
      const void* second = 2 * i + 1 < values.n ? values.rows[2 * i + 1] : zeros_;
      PairValues<E>(values.rows[2 * i], second, dim_v_, to);
    }
  }

  // Row by row, where values may be NaN or infinite: what weighs +0 is left out.
  static HWY_NOINLINE void SumSelected(const PairSums& sums) {
    const Tag<std::uint32_t> d;
    for (std::size_t r = 0; r < sums.rows; ++r) {
      for (std::size_t i = 0; i < sums.pairs; ++i) {
        const std::uint32_t w = *sums.WeightsOf(r, i);
        const std::uint32_t keep =
            ((w & 0xFFFFu) != 0 ? 0xFFFFu : 0u) | (w >> 16 != 0 ? ~0xFFFFu : 0u);
        for (std::size_t c = 0; c < sums.cols; c += kLanes<float>) {
          float* to = sums.state + r * sums.stride + c;
          const auto kept = hn::And(hn::Load(d, sums.values + i * sums.cols + c), hn::Set(d, keep));
          const auto sum =
              Bf16PairOps::MulAcc(hn::Load(Tag<float>(), to), Bf16PairOps::Broadcast(&w),
                                  hn::BitCast(Tag<float>(), kept));
          hn::Store(sum, Tag<float>(), to);
        }
      }
    }
  }

  const std::size_t dim_, dim_v_;
  const float scale_;
  std::uint32_t *const queries_, *const keys_, *const values_, *const weights_;
  std::uint16_t *const row_, *const zeros_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
