// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/rotary.h"

#include <cmath>
#include <numbers>
#include <stdexcept>

namespace regard::nn {

torch::Tensor rotary_frequencies(std::int64_t dim, const RotaryOptions& options) {
  if (dim < 2 || dim % 2 != 0)
    throw std::invalid_argument("rotary: head dim " + std::to_string(dim) +
                                "; expected an even one");
  const torch::Tensor exponents =
      torch::arange(0, dim, 2, torch::kInt64).to(torch::kFloat32) / static_cast<float>(dim);
  torch::Tensor frequencies = 1.0 / torch::pow(options.theta, exponents);
  if (options.type == "default") return frequencies;
  if (options.type == "linear") return frequencies / options.factor;
  if (options.type != "llama3")
    throw std::invalid_argument("rotary: type \"" + options.type +
                                "\"; expected default, linear or llama3");
  // By wavelength: beyond original_length / low all are stretched, below original_length / high
  // none is.
  const auto length = static_cast<double>(options.original_length);
  const torch::Tensor wavelengths = 2 * std::numbers::pi / frequencies;
  const torch::Tensor smooth = (length / wavelengths - options.low_frequency_factor) /
                               (options.high_frequency_factor - options.low_frequency_factor);
  const torch::Tensor between = (1 - smooth) * frequencies / options.factor + smooth * frequencies;
  torch::Tensor stretched = torch::where(wavelengths > length / options.low_frequency_factor,
                                         frequencies / options.factor, frequencies);
  const torch::Tensor middle = (wavelengths <= length / options.low_frequency_factor) &
                               (wavelengths >= length / options.high_frequency_factor);
  return torch::where(middle, between, stretched);
}

RotaryAngles rotary_angles(const torch::Tensor& positions, const torch::Tensor& frequencies) {
  const torch::Tensor angles =
      (positions.to(torch::kFloat32).unsqueeze(-1) * frequencies).unsqueeze(-2);
  const torch::Tensor cos = angles.cos(), sin = angles.sin();
  return {torch::cat({cos, cos}, -1), torch::cat({-sin, sin}, -1)};
}

torch::Tensor rotate(const torch::Tensor& x, const RotaryAngles& angles) {
  const torch::Tensor cos = angles.cos.to(x.scalar_type()), sin = angles.sin.to(x.scalar_type());
  // The other column of each pair is half a head away.
  return torch::addcmul(x * cos, x.roll(x.size(-1) / 2, -1), sin);
}

}  // namespace regard::nn
