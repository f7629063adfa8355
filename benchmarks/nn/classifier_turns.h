// SPDX-License-Identifier: Apache-2.0
// Our side of a benchmark of a classifier on one batch, whose other side is transformers'. Each
// line on standard input is answered with milliseconds and loss: "forward" (evaluation, no
// gradients), "step" (a training step with the trainer's AdamW) or "recompute" (one that computes
// layers again); "held" and "peak" with bytes (peak_memory.h).
#pragma once

#include <torch/torch.h>

#include <chrono>
#include <iostream>
#include <string>

#include "peak_memory.h"
#include "regard/nn/model.h"
#include "train/optimizer.h"

// `logits` runs the model's forward pass.
template <class Logits>
void take_turns(regard::nn::Model& model, const torch::Tensor& labels, Logits logits) {
  regard::train::TrainOptions options;
  options.optimizer = "adamw";
  options.learning_rate = 1e-5;
  options.beta2 = 0.999;
  options.weight_decay = 0.01;
  const auto optimiser = regard::train::make_optimizer(options, model.parameters());
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "held" || line == "peak") {
      std::cout << (line == "held" ? held_bytes() : peak_bytes()) << std::endl;
      continue;
    }
    const bool training = line != "forward";
    model.recompute_layers(line == "recompute");
    const torch::AutoGradMode gradients(training);
    model.train(training);
    const auto begin = std::chrono::steady_clock::now();
    if (training) optimiser->zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(logits(), labels);
    if (training) {
      loss.backward();
      optimiser->step();
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << " " << loss.item<double>() << std::endl;
  }
}
