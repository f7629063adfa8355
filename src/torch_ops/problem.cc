// SPDX-License-Identifier: Apache-2.0
#include "torch_ops/problem.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace regard::torch_ops {
namespace {

// An axis of size 1 stands for `size` equal ones. Says whether it had to.
bool repeat(MutableTensorView& view, int axis, std::int64_t size) {
  if (view.shape[axis] != 1 || size == 1) return false;
  view.shape[axis] = size;
  view.strides[axis] = 0;
  return true;
}

// The size that 1s give way to (which may be 0), or the first that is not 1.
std::int64_t common(std::int64_t a, std::int64_t b, std::int64_t c = 1) {
  return a != 1 ? a : b != 1 ? b : c;
}

}  // namespace

Problem::Problem(const Tensor& query, const Tensor& key, const Tensor& value, AxisOrder axes)
    : order(axes) {
  const Described dq(query, "query"), dk(key, "key"), dv(value, "value");
  q = axes_view(dq, order, "query");
  k = axes_view(dk, order, "key");
  v = axes_view(dv, order, "value");
  rank = std::max({dq.rank, dk.rank, dv.rank});
  const std::int64_t batch = common(q.shape[0], k.shape[0], v.shape[0]);
  repeats = dq.rank != dk.rank || dq.rank != dv.rank;
  for (MutableTensorView* view : {&q, &k, &v}) repeats |= repeat(*view, 0, batch);
  const std::int64_t heads_kv = common(k.shape[1], v.shape[1]);
  for (MutableTensorView* view : {&q, &k, &v}) repeats |= repeat(*view, 1, heads_kv);
  heads_inside = order == AxisOrder::kBhsd && dq.rank >= 3 && q.strides[1] < q.strides[2];
}

Tensor Problem::make_output() const {
  const std::int64_t batch = q.shape[0], heads = q.shape[1], seq = q.shape[2], dim = v.shape[3];
  if (order != AxisOrder::kBhsd) {
    const std::array<std::int64_t, 4> sizes{batch, seq, heads, dim};
    return make_tensor(sizes.data() + (4 - rank), rank, q.dtype);
  }
  const std::array<std::int64_t, 4> sizes{batch, heads, seq, dim};
  if (!heads_inside) return make_tensor(sizes.data() + (4 - rank), rank, q.dtype);
  const auto step = [](std::int64_t size) { return std::max<std::int64_t>(size, 1); };
  const std::array<std::int64_t, 4> strides{step(seq) * step(heads) * step(dim), step(dim),
                                            step(heads) * step(dim), 1};
  return make_tensor(sizes.data() + (4 - rank), rank, q.dtype, strides.data() + (4 - rank));
}

Tensor Problem::make_statistics(std::int64_t count) const {
  // (count, [batch,] [heads,] seq): as many axes as the output has, one of them for the statistics
  // instead of dim.
  std::array<std::int64_t, 4> sizes{count, q.shape[0], q.shape[1], q.shape[2]};
  const std::int64_t statistics_rank = order == AxisOrder::kThd ? 3 : rank;
  std::int64_t* first = sizes.data() + (4 - statistics_rank);
  *first = count;
  return make_tensor(first, statistics_rank,
                     q.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32);
}

MutableTensorView Problem::statistic(const Tensor& statistics, std::int64_t n) const {
  const Described all(statistics, "statistics");
  const std::int64_t axes =
      (order == AxisOrder::kThd ? 3 : rank) - 1;  // behind that of the statistics
  MutableTensorView view{
      all.data, all.dtype, {q.shape[0], q.shape[1], q.shape[2], 1}, {0, 0, 0, 1}};
  bool fits = all.rank == axes + 1 && n < all.sizes[0];
  for (std::int64_t i = 0; i < axes && fits; ++i) {
    const auto axis = static_cast<std::size_t>(3 - axes + i);
    fits = all.sizes[1 + i] == view.shape[axis];
    view.strides[axis] = all.strides[1 + i];
  }
  if (!fits)
    throw std::invalid_argument(
        "statistics: what the forward pass returned for other tensors than these");
  const bool some = q.shape[0] * q.shape[1] * q.shape[2] > 0;
  if (some)
    view.data = static_cast<char*>(all.data) +
                n * all.strides[0] * static_cast<std::int64_t>(size_of(all.dtype));
  return view;
}

Options decode_options(const std::vector<std::int64_t>& ints, const std::vector<double>& floats,
                       const std::vector<Tensor>& tensors, Differentiable* differentiable) {
  std::vector<TensorView> views;
  views.reserve(tensors.size());
  for (const Tensor& tensor : tensors)
    views.push_back(as_const(broadcast_view(Described(tensor, "tensor of a mask or modifier"),
                                            "tensor of a mask or modifier")));
  Options options;
  raise_if_failed(decode(ints, floats, views, &options, differentiable));
  return options;
}

Options common_options(std::int64_t mask, std::optional<double> scale) {
  static const Mask masks[] = {Mask(), causal(), causal(0)};
  if (mask < 0 || mask > 2)
    throw std::invalid_argument("mask: code " + std::to_string(mask) + " is none of 0, 1, 2");
  Options options;
  options.scale = scale;
  options.mask = masks[mask];
  return options;
}

}  // namespace regard::torch_ops
