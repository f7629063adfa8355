// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "regard/train/trainer.h"

namespace regard::train {

nn::Batch to_tensors(const std::vector<text::TokenPair>& pairs) {
  std::size_t longest_source = 0, longest_target = 0;
  for (const auto& pair : pairs) {
    longest_source = std::max(longest_source, pair.source.size());
    longest_target = std::max(longest_target, pair.target.size());
  }
  const auto rows = static_cast<std::int64_t>(pairs.size());
  const auto source_len = static_cast<std::int64_t>(longest_source) + 1;
  const auto target_len = static_cast<std::int64_t>(longest_target) + 1;
  nn::Batch batch{torch::full({rows, source_len}, nn::kPad, torch::kInt64),
                  torch::empty({rows}, torch::kInt64),
                  torch::full({rows, target_len}, nn::kPad, torch::kInt64),
                  torch::full({rows, target_len}, nn::kPad, torch::kInt64)};
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto& [source, target, line] = pairs[static_cast<std::size_t>(row)];
    std::int64_t* s = batch.source.data_ptr<std::int64_t>() + row * source_len;
    *std::copy(source.begin(), source.end(), s) = nn::kEnd;
    batch.source_lengths[row] = static_cast<std::int64_t>(source.size()) + 1;
    std::int64_t* in = batch.target_in.data_ptr<std::int64_t>() + row * target_len;
    *in = nn::kBegin;
    std::copy(target.begin(), target.end(), in + 1);
    std::int64_t* out = batch.target_out.data_ptr<std::int64_t>() + row * target_len;
    *std::copy(target.begin(), target.end(), out) = nn::kEnd;
  }
  return batch;
}

}  // namespace regard::train
