// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/positional_encoding.h"

#include <cmath>
#include <stdexcept>

namespace regard::nn {

torch::Tensor sinusoidal_positions(std::int64_t positions, std::int64_t dim, SinusoidOrder order) {
  if (positions < 0 || dim < 2 || dim % 2 != 0)
    throw std::invalid_argument("sinusoidal_positions: " + std::to_string(positions) +
                                " positions of dim " + std::to_string(dim) +
                                "; expected an even dim from 2");
  const torch::Tensor frequency =
      torch::exp(torch::arange(0, dim, 2, torch::kFloat64) * (-std::log(10000.0) / dim));
  const torch::Tensor angle = torch::outer(torch::arange(positions, torch::kFloat64), frequency);
  const std::vector<torch::Tensor> both{angle.sin(), angle.cos()};
  const torch::Tensor table =
      order == SinusoidOrder::kHalves ? torch::cat(both, 1) : torch::stack(both, 2).flatten(1);
  return table.to(torch::kFloat32);
}

std::shared_ptr<PositionalEncodingImpl> PositionalEncodingImpl::learned(std::int64_t max_positions,
                                                                        std::int64_t dim) {
  auto made = std::make_shared<PositionalEncodingImpl>();
  made->learned_ = true;
  made->table_ = made->register_parameter(
      "weight", torch::randn({max_positions, dim}) / std::sqrt(static_cast<double>(dim)));
  return made;
}

std::shared_ptr<PositionalEncodingImpl> PositionalEncodingImpl::sinusoidal(std::int64_t dim,
                                                                           SinusoidOrder order) {
  auto made = std::make_shared<PositionalEncodingImpl>();
  made->order_ = order;
  made->table_ = sinusoidal_positions(256, dim, order);
  return made;
}

torch::Tensor PositionalEncodingImpl::forward(const torch::Tensor& embedded, std::int64_t first) {
  const std::int64_t end = first + embedded.size(1);
  if (end > table_.size(0)) {
    if (learned_)
      throw std::invalid_argument("positions: a sequence of " + std::to_string(end) +
                                  " tokens; the model has learned " +
                                  std::to_string(table_.size(0)) + " positions");
    table_ = sinusoidal_positions(2 * end, table_.size(1), order_);
  }
  return embedded + table_.narrow(0, first, embedded.size(1)).to(embedded.scalar_type());
}

}  // namespace regard::nn
