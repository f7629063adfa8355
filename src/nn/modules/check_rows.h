// SPDX-License-Identifier: Apache-2.0
// Rows of a decoding state that change places.
#pragma once

#include <torch/torch.h>

#include <stdexcept>
#include <string>

namespace regard::nn {

// `rows` as a contiguous vector of int64, each below `count`; std::invalid_argument otherwise.
inline torch::Tensor checked_rows(const torch::Tensor& rows, std::int64_t count) {
  if (rows.dim() != 1 || rows.scalar_type() != torch::kInt64)
    throw std::invalid_argument("rows: expected a vector of int64");
  const torch::Tensor list = rows.contiguous();
  const auto* row = list.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < list.numel(); ++i) {
    if (row[i] < 0 || row[i] >= count)
      throw std::invalid_argument("rows: " + std::to_string(row[i]) + "; the state has " +
                                  std::to_string(count) + " rows");
  }
  return list;
}

}  // namespace regard::nn
