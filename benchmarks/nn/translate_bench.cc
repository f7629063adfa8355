// SPDX-License-Identifier: Apache-2.0
// translate_bench MODEL IN.safetensors BEAMS MAX_LENGTH THREADS: a folder of transformers'
// translates "source" (batch, length), "lengths" (batch). Each line on standard input asks for all
// of it once; the answer is the milliseconds and the first row's tokens.
// benchmarks/nn/translation.py takes turns with others.
#include <chrono>
#include <iostream>

#include "regard/generate/generate.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"

namespace nn = regard::nn;
namespace generate = regard::generate;

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  regard::nn::keep_freed_memory();
  torch::set_num_threads(std::stoi(argv[5]));
  const auto model = nn::open_model<nn::SequenceModel>(argv[1]);
  const auto in = nn::read_safetensors(argv[2]).tensors;
  const torch::Tensor source = in.at("source");
  const std::int64_t beams = std::stoll(argv[3]), length = std::stoll(argv[4]);
  const generate::Limits limits{
      .max_lengths = std::vector<std::int64_t>(static_cast<std::size_t>(source.size(0)), length)};
  for (std::string line; std::getline(std::cin, line);) {
    const auto begin = std::chrono::steady_clock::now();
    generate::ModelStepper stepper(*model, source, in.at("lengths"), length);
    const auto best = beams == 1 ? generate::greedy(stepper, stepper.first_tokens(), limits).front()
                                 : generate::beam_search(stepper, stepper.first_tokens(), limits,
                                                         {.beams = beams})
                                       .front()
                                       .front();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count();
    for (const std::int64_t token : best.tokens) std::cout << ' ' << token;
    std::cout << std::endl;
  }
  return 0;
}
