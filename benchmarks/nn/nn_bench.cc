// SPDX-License-Identifier: Apache-2.0
// nn_bench CONFIG.json WEIGHTS.safetensors BATCH.safetensors THREADS: trains a model on one batch.
// Each line on standard input asks for one training step, whose milliseconds and loss are answered;
// "held" and "peak" ask for bytes (peak_memory.h). benchmarks/nn/train_steps.py takes turns with
// PyTorch.
#include <chrono>
#include <fstream>
#include <iostream>

#include "peak_memory.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/loss.h"
#include "regard/nn/safetensors.h"
#include "train/optimizer.h"

namespace nn = regard::nn;

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  regard::nn::keep_freed_memory();
  torch::set_num_threads(std::stoi(argv[4]));
  nlohmann::json config;
  std::ifstream(argv[1]) >> config;
  const auto model = nn::make_model(config);
  nn::load_tensors(*model, nn::read_safetensors(argv[2]).tensors, argv[2]);
  auto tensors = nn::read_safetensors(argv[3]).tensors;
  const nn::Batch batch{tensors.at("source"), tensors.at("lengths"), tensors.at("target_in"),
                        tensors.at("target_out")};
  regard::train::TrainOptions options;
  options.learning_rate = 1e-4;
  const auto optimiser = regard::train::make_optimizer(options, model->parameters());
  model->train();
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "held" || line == "peak") {
      std::cout << (line == "held" ? held_bytes() : peak_bytes()) << std::endl;
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    optimiser->zero_grad();
    const nn::SequenceLoss loss = nn::sequence_loss(*model, batch);
    loss.loss.backward();
    optimiser->step();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << " " << loss.nll << std::endl;
  }
  return 0;
}
