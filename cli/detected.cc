// SPDX-License-Identifier: Apache-2.0
#include "cli/detected.h"

#include <cstdio>

namespace regard::cli {

std::string label_of(const nn::Detr& model, const nn::Detection& one) {
  char score[16];
  std::snprintf(score, sizeof score, " %.2f", one.score);
  return model.labels()[static_cast<std::size_t>(one.category)] + score;
}

picture::Box box_of(const nn::Detr& model, const nn::Detection& one) {
  return {one.x, one.y, one.width, one.height, label_of(model, one)};
}

picture::HeatMap map_of(const nn::DetrStates& states, const nn::Detection& one) {
  const torch::Tensor weights =
      states.weights[0].select(1, one.query).to(torch::kFloat64).mean(0).contiguous();
  const double* first = weights.data_ptr<double>();
  return {states.height, states.width, {first, first + weights.numel()}};
}

}  // namespace regard::cli
