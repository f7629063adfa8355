// SPDX-License-Identifier: Apache-2.0
// language_bench FOLDER BATCH.safetensors THREADS: an encoder with a "sequence" head on one batch.
// Each line on standard input is answered with milliseconds and loss: "forward" (evaluation, no
// gradients) or "step" (a training step with AdamW); "peak" is answered with the process' peak
// memory in bytes. benchmarks/nn/language.py takes turns with transformers.
#include <chrono>
#include <iostream>

#include "peak_memory.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"
#include "regard/nn/text_encoder.h"

namespace nn = regard::nn;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  torch::set_num_threads(std::stoi(argv[3]));
  const auto model = nn::open_model<nn::TextEncoder>(argv[1]);
  const auto tensors = nn::read_safetensors(argv[2]).tensors;
  nn::TextInput input;
  input.tokens = tensors.at("tokens");
  input.lengths = tensors.at("lengths");
  const torch::Tensor labels = tensors.at("labels");
  torch::optim::AdamW optimiser(model->parameters(), torch::optim::AdamWOptions(1e-5));
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "peak") {
      std::cout << peak_bytes() << std::endl;
      continue;
    }
    const bool training = line == "step";
    const torch::AutoGradMode gradients(training);
    model->train(training);
    const auto begin = std::chrono::steady_clock::now();
    if (training) optimiser.zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(model->forward(input), labels);
    if (training) {
      loss.backward();
      optimiser.step();
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << " " << loss.item<double>() << std::endl;
  }
  return 0;
}
