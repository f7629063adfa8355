// SPDX-License-Identifier: Apache-2.0
// Which source each row of a decoding state belongs to, kept so that rows of one source lie side by
// side and share its memory.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "nn/modules/check_rows.h"

namespace regard::nn {

class Hypotheses {
 public:
  explicit Hypotheses(std::int64_t sources) : memory_of_(static_cast<std::size_t>(sources)) {
    std::iota(memory_of_.begin(), memory_of_.end(), std::int64_t{0});
  }

  std::int64_t rows() const { return static_cast<std::int64_t>(memory_of_.size()); }
  std::int64_t width() const { return width_; }

  // Row i becomes what row rows[i] was. Returns the entries of the memory to select, in order, or
  // an undefined tensor where it stays as it is.
  torch::Tensor reorder(const torch::Tensor& rows) {
    const torch::Tensor list = checked_rows(rows, this->rows());
    std::vector<std::int64_t> next;
    for (std::int64_t i = 0; i < list.numel(); ++i)
      next.push_back(memory_of_[static_cast<std::size_t>(list.const_data_ptr<std::int64_t>()[i])]);
    const std::int64_t old_count = width_ > 0 ? this->rows() / width_ : 0;
    width_ = common_run(next);
    std::vector<std::int64_t> memory;
    for (std::size_t i = 0; i < next.size(); i += static_cast<std::size_t>(width_)) {
      memory.push_back(next[i]);
      for (std::size_t j = i; j < i + static_cast<std::size_t>(width_); ++j)
        next[j] = static_cast<std::int64_t>(memory.size()) - 1;
    }
    memory_of_ = std::move(next);
    bool same = static_cast<std::int64_t>(memory.size()) == old_count;
    for (std::size_t i = 0; i < memory.size() && same; ++i)
      same = memory[i] == static_cast<std::int64_t>(i);
    return same ? torch::Tensor() : torch::tensor(memory, torch::kInt64);
  }

 private:
  // How many rows of a source lie side by side, where it is the same for all; else 1: a memory for
  // each row.
  static std::int64_t common_run(const std::vector<std::int64_t>& sources) {
    std::size_t common = 0;
    for (std::size_t begin = 0, end; begin < sources.size(); begin = end) {
      for (end = begin + 1; end < sources.size() && sources[end] == sources[begin];) ++end;
      common = std::gcd(common, end - begin);
    }
    return std::max<std::int64_t>(static_cast<std::int64_t>(common), 1);
  }

  std::vector<std::int64_t> memory_of_;
  std::int64_t width_ = 1;
};

}  // namespace regard::nn
