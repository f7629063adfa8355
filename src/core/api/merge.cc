// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "core/api/state_rows.h"
#include "core/validate/validate.h"
#include "regard/state.h"

namespace regard {
namespace {

// With M the larger maximum, a side weighs exp(maximum - M + log_sum), its share of the sum over
// the union. The halves of lse are never added up: with scores near the largest float their sum
// would lose log_sum.
template <typename T>
void merge_row(const StateRows<T>& from, const StateRows<T>& to, std::int64_t i, std::int64_t dim) {
  constexpr T kNothing = -std::numeric_limits<T>::infinity();
  const T *maximum = from.maximum + i * from.maximum_row,
          *log_sum = from.log_sum + i * from.log_sum_row;
  T *maximum_to = to.maximum + i * to.maximum_row, *log_sum_to = to.log_sum + i * to.log_sum_row;
  const T* out = from.out + i * from.out_row;
  T* out_to = to.out + i * to.out_row;

  if (*maximum == kNothing && *maximum_to == kNothing) {
    for (std::int64_t d = 0; d < dim; ++d) out_to[d * to.out_dim] = 0;
    *log_sum_to = 0;
    return;
  }
  if (*maximum == kNothing) return;
  if (*maximum_to == kNothing) {
    for (std::int64_t d = 0; d < dim; ++d) out_to[d * to.out_dim] = out[d * from.out_dim];
    *maximum_to = *maximum;
    *log_sum_to = *log_sum;
    return;
  }
  const double of_from = *maximum, of_to = *maximum_to, larger = of_from > of_to ? of_from : of_to;
  const double from_weight = std::exp((of_from - larger) + *log_sum),
               to_weight = std::exp((of_to - larger) + *log_sum_to);
  const double sum = from_weight + to_weight, from_share = from_weight / sum,
               to_share = to_weight / sum;
  for (std::int64_t d = 0; d < dim; ++d) {
    T& value = out_to[d * to.out_dim];
    value = static_cast<T>(to_share * value + from_share * out[d * from.out_dim]);
  }
  *maximum_to = static_cast<T>(larger);
  *log_sum_to = static_cast<T>(std::log(sum));
}

template <typename T>
void merge_states(const State& other, const State& into) {
  const auto& [batch, heads, length, dim] = into.out.shape;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const StateRows<T> from(other, b, h), to(into, b, h);
      for (std::int64_t i = 0; i < length; ++i) merge_row(from, to, i, dim);
    }
  }
}

}  // namespace

Status merge(const State& other, const State& into) {
  Status status = validate_merge(other, into);
  if (!status.ok()) return status;
  if (into.out.dtype == DType::kFloat64) {
    merge_states<double>(other, into);
  } else {
    merge_states<float>(other, into);
  }
  return status;
}

}  // namespace regard
