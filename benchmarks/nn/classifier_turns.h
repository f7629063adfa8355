// SPDX-License-Identifier: Apache-2.0
// Our side of a benchmark of a classifier on one batch, whose other side is transformers'. Each
// line on standard input is answered with milliseconds and loss: "forward" (evaluation, no
// gradients) or "step" (a training step with AdamW); "peak" is answered with the process' peak
// memory in bytes.
#pragma once

#include <torch/torch.h>

#include <chrono>
#include <iostream>
#include <string>

#include "peak_memory.h"

// `logits` runs the model's forward pass.
template <class Logits>
void take_turns(torch::nn::Module& model, const torch::Tensor& labels, Logits logits) {
  torch::optim::AdamW optimiser(model.parameters(), torch::optim::AdamWOptions(1e-5));
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "peak") {
      std::cout << peak_bytes() << std::endl;
      continue;
    }
    const bool training = line == "step";
    const torch::AutoGradMode gradients(training);
    model.train(training);
    const auto begin = std::chrono::steady_clock::now();
    if (training) optimiser.zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(logits(), labels);
    if (training) {
      loss.backward();
      optimiser.step();
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << " " << loss.item<double>() << std::endl;
  }
}
