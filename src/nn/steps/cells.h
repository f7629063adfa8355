// SPDX-License-Identifier: Apache-2.0
// The cells of a Recurrent for whole sequences under autograd: the same numbers as libtorch's
// cells, with fewer and larger operations. What is known of the inputs before the steps is
// multiplied for all of them in one product, and so are the gradients of the weights.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "nn/steps/shared_linear.h"
#include "regard/nn/rnn.h"

namespace regard::nn {

// One layer in one direction.
class CellLayer {
 public:
  // weights: libtorch's four (input, hidden and their biases). known: how many of the input's
  // columns are known before the steps.
  CellLayer(Cell cell, const torch::Tensor* weights, std::int64_t known);
  // What the known columns give: known (steps, batch, columns) -> for each step (batch, gates).
  std::vector<torch::Tensor> prepare(const torch::Tensor& known) const;
  // One step: prepared, one of those, or undefined where no column is known; rest (batch, other
  // columns), or undefined where all are known; hidden and cell (batch, hidden), cell of an LSTM
  // alone.
  void step(const torch::Tensor& prepared, const torch::Tensor& rest, torch::Tensor& hidden,
            torch::Tensor& cell) const;

 private:
  Cell cell_;
  torch::Tensor known_weight_;
  SharedLinear rest_, hidden_;
  torch::Tensor input_bias_, hidden_bias_;
};

// The state of every layer, (batch, hidden) each; cell is empty but for LSTMs.
struct CellStates {
  std::vector<torch::Tensor> hidden, cell;

  explicit CellStates(const RecurrentState& state);
  const torch::Tensor& top() const { return hidden.back(); }
};

// All layers of a Recurrent with one direction, a step at a time.
class Cells {
 public:
  // known: how many of the first layer's input columns are known before the steps.
  Cells(Recurrent recurrent, std::int64_t known);
  std::vector<torch::Tensor> prepare(const torch::Tensor& known) const;
  // As CellLayer's, through all layers.
  void step(const torch::Tensor& prepared, const torch::Tensor& rest, CellStates& states) const;

 private:
  Recurrent recurrent_;
  std::vector<CellLayer> layers_;
};

}  // namespace regard::nn
