// SPDX-License-Identifier: Apache-2.0
// causal_bench MODEL.gguf float32|bfloat16 THREADS: a language model reads and writes. Each line
// on standard input is answered by milliseconds and a token:
//   prefill TOKENS         reads so many tokens, and the token that it would write next
//   context TOKENS         reads so many tokens, from which the next lines go on
//   decode STEPS           writes so many, each the likeliest, and the last one
// benchmarks/nn/causal_lm.py takes turns with transformers.
#include <chrono>
#include <iostream>
#include <sstream>

#include "regard/nn/gguf.h"
#include "regard/nn/keep_memory.h"

namespace nn = regard::nn;

namespace {

constexpr std::int64_t kChunk = 1024, kRoom = 512;

// Tokens that are the same on the other side.
torch::Tensor tokens(std::int64_t count) {
  return (torch::arange(count, torch::kInt64) * 7919 % 40'000 + 100).unsqueeze(0);
}

struct Text {
  nn::CausalLM& model;
  std::unique_ptr<nn::DecodingState> state;
  torch::Tensor next;

  void read(std::int64_t count) {
    const torch::Tensor all = tokens(count);
    state = model.start(all.narrow(1, 0, 1), torch::ones({1}, torch::kInt64), count + kRoom);
    std::int64_t begin = 0;
    for (; count - begin > kChunk; begin += kChunk)
      model.advance(*state, all.narrow(1, begin, kChunk));
    next = model.read(*state, all.narrow(1, begin, count - begin)).argmax(-1);
  }
  void write(std::int64_t steps) {
    for (std::int64_t i = 0; i < steps; ++i) next = model.step(*state, next).argmax(-1);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  regard::nn::keep_freed_memory();
  torch::set_num_threads(std::stoi(argv[3]));
  const torch::NoGradGuard no_grad;
  const auto model = nn::load_gguf(argv[1]);
  if (std::string(argv[2]) == "bfloat16") model->to(torch::kBFloat16);
  Text text{*model, nullptr, {}};
  std::string line, word;
  while (std::getline(std::cin, line)) {
    std::int64_t count = 0;
    std::istringstream(line) >> word >> count;
    const auto begin = std::chrono::steady_clock::now();
    word == "decode" ? text.write(count) : text.read(count);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << took.count() << " " << text.next.item<std::int64_t>() << std::endl;
  }
  return 0;
}
