// SPDX-License-Identifier: Apache-2.0
// Products of the decode pass in float, whatever elements keys and values have.

#if defined(REGARD_KERNELS_FLOAT_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_FLOAT_PRODUCTS_INL_H_
#undef REGARD_KERNELS_FLOAT_PRODUCTS_INL_H_
#else
#define REGARD_KERNELS_FLOAT_PRODUCTS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/decode/decode_rows-inl.h"
#include "core/kernels/decode_task.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

class FloatProducts {
 public:
  // What must hold while an item of so many rows runs.
  struct Session {
    explicit Session(std::size_t /*rows*/) {}
  };

  FloatProducts(const DecodeTask& task, Carve& carve)
      : dim_(static_cast<std::size_t>(task.dim)),
        dim_v_(static_cast<std::size_t>(task.dim_v)),
        cols_(RoundUp(dim_, kLanes<float>)),
        cols_v_(RoundUp(dim_v_, kLanes<float>)),
        scale_(static_cast<float>(task.pass->scale)),
        queries_(carve.Take<float>(static_cast<std::size_t>(kDecodeRows) * cols_)) {}

  // Row i of a head's queries becomes row r of the item, to be multiplied with keys of `dtype`.
  void StoreQuery(const RowsView& q, std::int64_t i, std::size_t r, DType keys) {
    const Tag<float> d;
    float* to = queries_ + r * cols_;
    const auto scale = hn::Set(d, scale_);
    const bool whole = q.col == 1 && cols_ == dim_;  // vectors can be read
    if (!whole) {
      CopyRow(q, i, dim_, to);
      std::fill(to + dim_, to + cols_, 0.0f);
    }
    for (std::size_t c = 0; c < cols_; c += kLanes<float>) {
      const auto x = whole ? LoadAs(d, q.dtype, q.base, q.At(i) + static_cast<std::int64_t>(c))
                           : hn::Load(d, to + c);
      hn::Store(hn::Mul(x, scale), d, to + c);
    }
    if (InPairs(keys, dim_)) SplitColumns(to, dim_);
  }

  // Scores of `rows` queries and a block of keys, [panel of keys][rows][kWidth].
  void Multiply(std::size_t rows, const BlockOfRows& keys, float* scores) {
    const ScoreBlock block{queries_, rows, cols_, cols_, scores};
    switch (keys.dtype) {
      case DType::kBFloat16:
        InPairs(keys.dtype, dim_) ? MultiplyAs<BFloat16Pair>(block, keys)
                                  : MultiplyAs<hwy::bfloat16_t>(block, keys);
        break;
      case DType::kFloat16: MultiplyAs<hwy::float16_t>(block, keys); break;
      case DType::kInt8: MultiplyAs<std::int8_t>(block, keys); break;
      default: MultiplyAs<float>(block, keys);
    }
    if (keys.scales != nullptr) ScaleLanes(keys.scales, rows, keys.n, scores);
  }

  // state[row] += weights * values. `zeros`: some weigh +0 and are hidden.
  void Sum(std::size_t rows, const float* weights, bool zeros, const BlockOfRows& values,
           float* state, std::size_t stride) {
    const ValueBlock block{values.next, weights, rows, cols_v_, state, stride};
    switch (values.dtype) {
      case DType::kBFloat16:
        InPairs(values.dtype, dim_v_) ? SumAs<BFloat16Pair>(block, zeros, values)
                                      : SumAs<hwy::bfloat16_t>(block, zeros, values);
        break;
      case DType::kFloat16: SumAs<hwy::float16_t>(block, zeros, values); break;
      case DType::kInt8: SumAs<std::int8_t>(block, zeros, values); break;
      default: SumAs<float>(block, zeros, values);
    }
  }

  // Columns of a row of a state into their order.
  void Reorder(float* row, DType values) const {
    if (InPairs(values, dim_v_)) JoinColumns(row, dim_v_);
  }

 private:
  template <typename E>
  static void MultiplyAs(const ScoreBlock& block, const BlockOfRows& keys) {
    MultiplyBlock<E>(block, keys.rows, keys.next, keys.n);
  }
  template <typename E>
  void SumAs(const ValueBlock& block, bool zeros, const BlockOfRows& values) const {
    const bool select =
        zeros && kMayBeInfinite<E> && !FiniteRows<E>(values.rows, values.n, cols_v_);
    SumBlock<E>(block, values.rows, values.n, select);
  }

  const std::size_t dim_, dim_v_, cols_, cols_v_;
  const float scale_;
  float* const queries_;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
