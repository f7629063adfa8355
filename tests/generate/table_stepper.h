// SPDX-License-Identifier: Apache-2.0
// A "model" whose next token depends on the last two: a table of logits, so that every sequence can
// be scored by hand. It counts its rows, and forgets nothing: what a row has read travels with it.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "regard/generate/stepper.h"

namespace regard::test {

class TableStepper : public generate::Stepper {
 public:
  // logits (vocabulary, vocabulary, vocabulary): of what follows two tokens.
  TableStepper(torch::Tensor logits, std::int64_t rows)
      : logits_(std::move(logits)), before_(rows, 0) {}

  torch::Tensor step(const torch::Tensor& tokens) override {
    TORCH_CHECK(tokens.size(0) == static_cast<std::int64_t>(before_.size()));
    const auto token = tokens.accessor<std::int64_t, 1>();
    std::vector<std::int64_t> pairs;
    for (std::size_t row = 0; row < before_.size(); ++row) {
      const std::int64_t last = token[static_cast<std::int64_t>(row)];
      pairs.push_back(before_[row] * logits_.size(1) + last);
      before_[row] = last;
    }
    rows_read += static_cast<std::int64_t>(before_.size());
    return logits_.flatten(0, 1).index_select(0, torch::tensor(pairs, torch::kInt64));
  }

  void reorder(const torch::Tensor& rows) override {
    std::vector<std::int64_t> taken;
    for (std::int64_t i = 0; i < rows.size(0); ++i) {
      taken.push_back(before_[static_cast<std::size_t>(rows[i].item<std::int64_t>())]);
    }
    before_ = taken;
  }

  std::int64_t rows_read = 0;

 private:
  torch::Tensor logits_;
  std::vector<std::int64_t> before_;
};

// Sums of log probabilities, in double.
class TableScore {
 public:
  explicit TableScore(const torch::Tensor& logits)
      : log_p_(torch::log_softmax(logits.to(torch::kFloat64), -1)) {}

  // Of `tokens` after `first`.
  double operator()(std::int64_t first, const std::vector<std::int64_t>& tokens) const {
    const auto log_p = log_p_.accessor<double, 3>();
    double sum = 0;
    std::int64_t before = 0, last = first;
    for (const std::int64_t token : tokens) {
      sum += log_p[before][last][token];
      before = last;
      last = token;
    }
    return sum;
  }

 private:
  torch::Tensor log_p_;
};

}  // namespace regard::test
