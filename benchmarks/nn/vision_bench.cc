// SPDX-License-Identifier: Apache-2.0
// vision_bench FOLDER BATCH.safetensors THREADS: a classifier of images on one batch. Each line on
// standard input is answered with milliseconds and loss: "forward" (evaluation, no gradients) or
// "step" (a training step with AdamW). benchmarks/nn/vision.py takes turns with transformers.
#include <chrono>
#include <iostream>

#include "regard/nn/image_classifier.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"

namespace nn = regard::nn;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  torch::set_num_threads(std::stoi(argv[3]));
  const auto model = nn::open_model<nn::ImageClassifier>(argv[1]);
  const auto tensors = nn::read_safetensors(argv[2]).tensors;
  const torch::Tensor pixels = tensors.at("pixels"), labels = tensors.at("labels");
  torch::optim::AdamW optimiser(model->parameters(), torch::optim::AdamWOptions(1e-5));
  for (std::string line; std::getline(std::cin, line);) {
    const bool training = line == "step";
    const torch::AutoGradMode gradients(training);
    model->train(training);
    const auto begin = std::chrono::steady_clock::now();
    if (training) optimiser.zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(model->forward(pixels), labels);
    if (training) {
      loss.backward();
      optimiser.step();
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << " " << loss.item<double>() << std::endl;
  }
  return 0;
}
