// SPDX-License-Identifier: Apache-2.0
// Sinks: learned logits that join the denominator of a finished row, and their gradient.

#if defined(REGARD_KERNELS_SINKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_SINKS_INL_H_
#undef REGARD_KERNELS_SINKS_INL_H_
#else
#define REGARD_KERNELS_SINKS_INL_H_
#endif

#include <cmath>
#include <limits>
#include "core/kernels/kernels.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Lets the sinks of a head join a row's statistics: afterwards the maximum covers both. Returns
// what the row's own sum was multiplied by.
template <typename T>
HWY_NOINLINE T JoinSinks(const TensorView& sinks, std::int64_t head, T* maximum, T* sum) {
  const std::int64_t count = sinks.shape[3], first = head * sinks.strides[1];
  T most = *maximum;
  for (std::int64_t m = 0; m < count; ++m) {
    const T logit = ElementAs<T>(sinks.dtype, sinks.data, first + m * sinks.strides[3]);
    if (!(logit <= most)) most = logit;
  }
  if (most == -std::numeric_limits<T>::infinity()) return T{1};
  const T own = *maximum == -std::numeric_limits<T>::infinity() ? T{0} : std::exp(*maximum - most);
  T total = *sum * own;
  for (std::int64_t m = 0; m < count; ++m)
    total += std::exp(ElementAs<T>(sinks.dtype, sinks.data, first + m * sinks.strides[3]) - most);
  *maximum = most;
  *sum = total;
  return own;
}

// partials[head][m] += what rows of one (batch, head) add to the gradient of its sinks: P_sink
// (dlse - delta), delta = rowsum(dO * O).
template <typename T>
HWY_NOINLINE void SinkGradients(const BackwardTask& task, std::int64_t batch, std::int64_t head,
                                std::byte* scratch, double* HWY_RESTRICT sums) {
  const BackwardInputs& in = task.inputs;
  const TensorView& sinks = task.sinks;
  const auto dim = static_cast<std::size_t>(in.out.shape[3]);
  T* own = reinterpret_cast<T*>(scratch);
  T* d_own = own + (dim + 31) / 32 * 32;
  const RowsView out = RowsView::of(in.out, batch, head, 0),
                 d_out = RowsView::of(in.d_out, batch, head, 0);
  const RowsView maximum = RowsView::of(in.maximum, batch, head, 0),
                 log_sum = RowsView::of(in.log_sum, batch, head, 0);
  const RowsView d_lse = in.d_lse.given() ? RowsView::of(in.d_lse, batch, head, 0) : RowsView{};
  for (std::int64_t i = 0; i < in.out.shape[2]; ++i) {
    CopyRow(out, i, dim, own);
    CopyRow(d_out, i, dim, d_own);
    double shift = d_lse.base == nullptr
                       ? 0
                       : static_cast<double>(static_cast<const T*>(d_lse.base)[i * d_lse.row]);
    for (std::size_t c = 0; c < dim; ++c)
      shift -= static_cast<double>(own[c]) * static_cast<double>(d_own[c]);
    const auto m = static_cast<double>(static_cast<const T*>(maximum.base)[i * maximum.row]);
    const auto l = static_cast<double>(static_cast<const T*>(log_sum.base)[i * log_sum.row]);
    for (std::int64_t s = 0; s < sinks.shape[3]; ++s) {
      const double logit =
          ElementAs<T>(sinks.dtype, sinks.data, head * sinks.strides[1] + s * sinks.strides[3]);
      if (logit > -std::numeric_limits<double>::infinity())
        sums[s] += std::exp(logit - m - l) * shift;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
