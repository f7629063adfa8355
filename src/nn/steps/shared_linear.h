// SPDX-License-Identifier: Apache-2.0
// Recurrent networks multiply with the same matrix at every step. Autograd would make that matrix's
// gradient at every step, a product over the few rows of a batch, and add it up in memory that no
// cache holds. Here the steps leave their inputs and gradients behind, and one product over all of
// them makes the sum.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace regard::nn {

class SharedLinear {
 public:
  // weight (out, in); undefined: nothing to multiply with.
  explicit SharedLinear(const torch::Tensor& weight);
  // addend + x weight^T: x (rows, in), addend (rows, out) or (out), or undefined for 0. Gradients
  // go to all three; that of the weight after the last step's.
  torch::Tensor operator()(const torch::Tensor& addend, const torch::Tensor& x) const;

  struct Steps : torch::CustomClassHolder {
    std::vector<torch::Tensor> inputs, gradients;
  };

 private:
  torch::Tensor weight_;      // comes through the node that makes its gradient
  torch::Tensor transposed_;  // (in, out), side by side: a step's product reads it as it lies
  c10::intrusive_ptr<Steps> steps_;
};

}  // namespace regard::nn
