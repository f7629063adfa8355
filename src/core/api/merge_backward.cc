// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "core/api/state_rows.h"
#include "core/validate/validate.h"
#include "regard/state.h"

namespace regard {
namespace {

// A row of gradients, of T; null where it is not given.
template <typename T, class View>
T* row_of(const View& view, std::int64_t b, std::int64_t h, std::int64_t i) {
  if (!view.given()) return nullptr;
  return static_cast<T*>(view.data) + b * view.strides[0] + h * view.strides[1] +
         i * view.strides[2];
}

// exp(lse_part - lse_whole), the halves taken apart from each other.
template <typename T>
double share_of(const StateRows<T>& part, const StateRows<T>& whole, std::int64_t i) {
  const double maximum = part.maximum[i * part.maximum_row],
               of_whole = whole.maximum[i * whole.maximum_row];
  if (maximum == -std::numeric_limits<double>::infinity()) return 0;
  const double log_sum = part.log_sum[i * part.log_sum_row],
               log_sum_of_whole = whole.log_sum[i * whole.log_sum_row];
  return std::exp((maximum - of_whole) + (log_sum - log_sum_of_whole));
}

// share * (d_out . (out_part - out_whole) + d_lse). Where the share is 0, the part's out may hold
// anything.
template <typename T>
double lse_gradient(const StateRows<T>& part, const StateRows<T>& whole, std::int64_t i,
                    double share, const T* d_out, std::int64_t d_out_dim, double d_lse,
                    std::int64_t dim) {
  if (share == 0) return 0;
  const T *out = part.out + i * part.out_row, *out_whole = whole.out + i * whole.out_row;
  double sum = d_lse;
  for (std::int64_t d = 0; d < dim; ++d) {
    const double difference = static_cast<double>(out[d * part.out_dim]) -
                              static_cast<double>(out_whole[d * whole.out_dim]);
    sum += static_cast<double>(d_out[d * d_out_dim]) * difference;
  }
  return share * sum;
}

template <typename T>
void share_gradients(const State& part, const State& whole, const TensorView& d_out,
                     const TensorView& d_lse, const StateGradients& gradients) {
  const auto& [batch, heads, length, dim] = whole.out.shape;
  const std::int64_t from_dim = d_out.strides[3], to_dim = gradients.d_out.strides[3];
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const StateRows<T> own(part, b, h), all(whole, b, h);
      for (std::int64_t i = 0; i < length; ++i) {
        const double share = share_of(own, all, i);
        const T* from = row_of<const T>(d_out, b, h, i);
        if (T* to = row_of<T>(gradients.d_out, b, h, i)) {
          for (std::int64_t d = 0; d < dim; ++d)
            to[d * to_dim] =
                share == 0 ? T{0} : static_cast<T>(share * static_cast<double>(from[d * from_dim]));
        }
        if (T* to = row_of<T>(gradients.d_lse, b, h, i)) {
          const T* arriving = row_of<const T>(d_lse, b, h, i);
          *to = static_cast<T>(
              lse_gradient(own, all, i, share, from, from_dim,
                           arriving == nullptr ? 0.0 : static_cast<double>(*arriving), dim));
        }
      }
    }
  }
}

}  // namespace

Status merge_backward(const State& part, const State& whole, const TensorView& d_out,
                      const TensorView& d_lse, const StateGradients& gradients) {
  Status status = validate_merge_backward(part, whole, d_out, d_lse, gradients);
  if (!status.ok()) return status;
  if (whole.out.dtype == DType::kFloat64) {
    share_gradients<double>(part, whole, d_out, d_lse, gradients);
  } else {
    share_gradients<float>(part, whole, d_out, d_lse, gradients);
  }
  return status;
}

}  // namespace regard
