// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/detection.h"

#include <algorithm>

namespace regard::nn {

std::vector<Detection> detections(const DetrOutput& output, std::int64_t index, std::int64_t width,
                                  std::int64_t height, double threshold) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor likely = output.logits[index].to(torch::kFloat64).softmax(-1);
  const auto [scores, classes] = likely.narrow(-1, 0, likely.size(-1) - 1).max(-1);
  const torch::Tensor boxes = output.boxes[index].to(torch::kFloat64).contiguous();
  const torch::Tensor found = scores.contiguous(), which = classes.contiguous();
  const auto wide = static_cast<double>(width), high = static_cast<double>(height);
  std::vector<Detection> result;
  for (std::int64_t query = 0; query < boxes.size(0); ++query) {
    const double score = found.data_ptr<double>()[query];
    if (score < threshold) continue;
    const double* box = boxes.data_ptr<double>() + 4 * query;
    const auto low = [](double centre, double size, double of) {
      return std::clamp((centre - size / 2) * of, 0.0, of);
    };
    const auto high_end = [](double centre, double size, double of) {
      return std::clamp((centre + size / 2) * of, 0.0, of);
    };
    const double x = low(box[0], box[2], wide), y = low(box[1], box[3], high);
    result.push_back({which.data_ptr<std::int64_t>()[query], score, x, y,
                      high_end(box[0], box[2], wide) - x, high_end(box[1], box[3], high) - y,
                      query});
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const Detection& a, const Detection& b) { return a.score > b.score; });
  return result;
}

}  // namespace regard::nn
