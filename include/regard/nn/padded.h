// SPDX-License-Identifier: Apache-2.0
// Rows of integers of unequal lengths as one tensor.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace regard::nn {

struct Padded {
  torch::Tensor values;   // (rows, the longest) int64, each row at the beginning of its own
  torch::Tensor lengths;  // (rows) int64
};

// `Row` is a range of integers that knows its size; `pad` stands behind the shorter ones.
template <class Row>
Padded padded(const std::vector<Row>& rows, std::int64_t pad) {
  std::int64_t longest = 0;
  for (const Row& row : rows) longest = std::max(longest, std::ssize(row));
  Padded result{torch::full({std::ssize(rows), longest}, pad, torch::kInt64),
                torch::empty({std::ssize(rows)}, torch::kInt64)};
  std::int64_t* to = result.values.template data_ptr<std::int64_t>();
  std::int64_t* length = result.lengths.template data_ptr<std::int64_t>();
  for (const Row& row : rows) {
    std::copy(row.begin(), row.end(), to);
    *length++ = std::ssize(row);
    to += longest;
  }
  return result;
}

}  // namespace regard::nn
