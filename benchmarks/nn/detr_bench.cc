// SPDX-License-Identifier: Apache-2.0
// detr_bench MODEL PIXELS.safetensors OUT.safetensors THREADS: each line on standard input asks for
// one forward pass, whose milliseconds are answered; logits and boxes of the first go to OUT.
// benchmarks/nn/detr.py takes turns with transformers.
#include <chrono>
#include <iostream>

#include "regard/nn/detr.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"

namespace nn = regard::nn;

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  regard::nn::keep_freed_memory();
  torch::set_num_threads(std::stoi(argv[4]));
  const torch::NoGradGuard no_gradients;
  const auto model = nn::open_model<nn::Detr>(argv[1]);
  const torch::Tensor pixels = nn::read_safetensors(argv[2]).tensors.at("pixels");
  const auto first = model->forward(pixels).back();
  nn::write_safetensors(argv[3], {{{"logits", first.logits}, {"boxes", first.boxes}}, {}});
  for (std::string line; std::getline(std::cin, line);) {
    const auto begin = std::chrono::steady_clock::now();
    model->forward(pixels);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << std::endl;
  }
  return 0;
}
