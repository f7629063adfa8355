// SPDX-License-Identifier: Apache-2.0
// The cells of a Recurrent for whole targets that must be read a step at a time: the same numbers
// as libtorch's cells, with fewer and larger operations under autograd.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "nn/steps/shared_linear.h"
#include "regard/nn/rnn.h"

namespace regard::nn {

// The state of every layer, (batch, hidden) each; cell is empty but for LSTMs.
struct CellStates {
  std::vector<torch::Tensor> hidden, cell;

  explicit CellStates(const RecurrentState& state);
  const torch::Tensor& top() const { return hidden.back(); }
};

class Cells {
 public:
  // known: how many of the first layer's input columns are known before the steps.
  Cells(Recurrent recurrent, std::int64_t known);
  // What the known columns give, for all steps in one product: known (steps, batch, columns) -> for
  // each step (batch, gates).
  std::vector<torch::Tensor> prepare(const torch::Tensor& known) const;
  // One step: prepared, one of those; rest (batch, other columns) of the first layer's input, or
  // undefined where all are known.
  void step(const torch::Tensor& prepared, const torch::Tensor& rest, CellStates& states) const;

 private:
  struct Layer {
    SharedLinear input, hidden;
    torch::Tensor input_bias, hidden_bias;
  };
  Recurrent recurrent_;
  torch::Tensor known_weight_, known_bias_;
  std::vector<Layer> layers_;
};

}  // namespace regard::nn
