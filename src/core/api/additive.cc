// SPDX-License-Identifier: Apache-2.0
#include "core/api/additive.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/api/views.h"
#include "core/element.h"

namespace regard {
namespace {

constexpr std::size_t kPanel = 32;  // columns: whole panels on every instruction set

std::size_t round_up(std::size_t x, std::size_t to) { return (x + to - 1) / to * to; }

// v times the scale, divided by a power of two so that no element is above 1.
template <typename T>
kernels::AdditiveVectors::Vector normalise(T* v, std::size_t dim, double scale) {
  double most = 0;
  for (std::size_t c = 0; c < dim; ++c)
    most = std::max(most, std::abs(static_cast<double>(v[c]) * scale));
  const double unit = most > 0 && std::isfinite(most) ? std::ldexp(1.0, std::ilogb(most) + 1) : 1;
  double sum = 0;
  for (std::size_t c = 0; c < dim; ++c) {
    v[c] = static_cast<T>(static_cast<double>(v[c]) * scale / unit);
    sum += static_cast<double>(v[c]);
  }
  return {sum, unit};
}

// The sums of all slots, in double, into a contiguous gradient.
template <typename T>
void add_slots(const kernels::BackwardTask& task, double scale, const MutableTensorView& to) {
  const std::size_t stride = task.additive.stride,
                    heads = static_cast<std::size_t>(task.inputs.q.shape[1]);
  const auto sequences = static_cast<std::size_t>(task.sequences),
             dim = static_cast<std::size_t>(to.shape[3]);
  std::vector<double> sums(task.additive.vectors.size() * dim, 0);
  const std::size_t slots = static_cast<std::size_t>(task.blocks) * sequences * heads;
  for (std::size_t slot = 0; slot < slots; ++slot) {
    const std::int64_t batch = task.layout->sequences[slot / heads % sequences].batch;
    const T* part = static_cast<const T*>(task.d_additive) + slot * stride;
    double* sum =
        sums.data() + task.additive.index(batch, static_cast<std::int64_t>(slot % heads)) * dim;
    for (std::size_t c = 0; c < dim; ++c) sum[c] += static_cast<double>(part[c]);
  }
  T* out = static_cast<T*>(to.data);
  for (std::size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<T>(sums[i] * scale);
}

}  // namespace

double scale_of(const Options& options, std::int64_t dim) {
  return options.scale.value_or(options.score ? 1.0 : 1.0 / std::sqrt(static_cast<double>(dim)));
}

const kernels::KernelSet& set_for(const Options& options, DType dtype) {
  return options.score ? kernels::additive_set_for(dtype) : kernels::set_for(dtype);
}

Status AdditiveMemory::prepare(const Options& options, const Shape& k,
                               const kernels::KernelSet& set, DType own, double scale,
                               kernels::AdditiveVectors& vectors) {
  vectors.v = nullptr;
  vectors.vectors.clear();
  vectors.prepared_keys = {};
  if (!options.score) return {};
  if (options.score->prepared_keys.given())
    vectors.prepared_keys = broadcast_to(options.score->prepared_keys, k);
  const TensorView& v = options.score->v;
  const auto count = static_cast<std::size_t>(v.shape[0] * v.shape[1]),
             dim = static_cast<std::size_t>(v.shape[3]);
  vectors.inner = round_up(dim, 4);
  vectors.stride = round_up(dim, kPanel);
  vectors.head_step = v.shape[1] == 1 ? 0 : 1;
  vectors.batch_step = v.shape[0] == 1 ? 0 : v.shape[1];
  const std::size_t bytes = count * vectors.stride * size_of(own);
  vectors_ = std::make_unique<schedule::ScratchMemory>(bytes);
  if (vectors_->data() == nullptr) return no_memory("score.v", bytes);
  std::fill_n(vectors_->data(), bytes, std::byte{0});
  MutableTensorView copy =
      MutableTensorView::bhsd(vectors_->data(), own, v.shape[0], v.shape[1], 1, v.shape[3]);
  copy.strides = {v.shape[1] * static_cast<std::int64_t>(vectors.stride),
                  static_cast<std::int64_t>(vectors.stride), 0, 1};
  set.copy(v, copy);
  for (std::size_t n = 0; n < count; ++n) {
    const std::size_t at = n * vectors.stride;
    vectors.vectors.push_back(
        own == DType::kFloat64
            ? normalise(reinterpret_cast<double*>(vectors_->data()) + at, dim, scale)
            : normalise(reinterpret_cast<float*>(vectors_->data()) + at, dim, scale));
  }
  vectors.v = vectors_->data();
  return {};
}

Status AdditiveMemory::prepare_gradient(kernels::BackwardTask& task, DType own) {
  task.d_additive = nullptr;
  if (task.additive.v == nullptr) return {};
  const std::size_t bytes =
      static_cast<std::size_t>(task.blocks * task.sequences * task.inputs.q.shape[1]) *
      task.additive.stride * size_of(own);
  slots_ = std::make_unique<schedule::ScratchMemory>(bytes);
  if (slots_->data() == nullptr) return no_memory("d_score_v", bytes);
  std::fill_n(slots_->data(), bytes, std::byte{0});
  task.d_additive = slots_->data();
  return {};
}

void AdditiveMemory::write_gradient(const kernels::BackwardTask& task,
                                    const kernels::KernelSet& set, DType own, double scale) const {
  const MutableTensorView& gradient = task.gradients.d_score_v;
  if (!gradient.given() || task.additive.v == nullptr) return;
  const auto count =
      static_cast<std::size_t>(gradient.shape[0] * gradient.shape[1] * gradient.shape[3]);
  std::vector<double> sums(count);  // room for either type
  const MutableTensorView sum = MutableTensorView::bhsd(sums.data(), own, gradient.shape[0],
                                                        gradient.shape[1], 1, gradient.shape[3]);
  if (own == DType::kFloat64) {
    add_slots<double>(task, scale, sum);
  } else {
    add_slots<float>(task, scale, sum);
  }
  set.copy(as_const(sum), gradient);
}

}  // namespace regard
