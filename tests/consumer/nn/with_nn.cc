// SPDX-License-Identifier: Apache-2.0
// Links regard::nn: a small model learns to copy its source, is saved, loaded and decodes.
#include <regard/nn/checkpoint.h>
#include <regard/nn/loss.h>
#include <regard/nn/sequence_model.h>

#include <cstdio>

namespace nn = regard::nn;

int main(int, char** argv) {
  torch::manual_seed(1);
  const auto model = nn::make_model({{"kind", "seq2seq"},
                                     {"source_vocab", 8},
                                     {"target_vocab", 8},
                                     {"embedding", 16},
                                     {"hidden", 32},
                                     {"attention_dim", 32},
                                     {"maxout", 32},
                                     {"dropout", 0.0}});
  torch::optim::Adam optimiser(model->parameters(), torch::optim::AdamOptions(1e-2));
  const torch::Tensor begin = torch::full({32, 1}, nn::kBegin),
                      end = torch::full({32, 1}, nn::kEnd);
  double first = 0, last = 0;
  for (int i = 0; i < 150; ++i) {
    const torch::Tensor source = torch::randint(4, 8, {32, 3}, torch::kInt64);
    const nn::Batch batch{source, torch::full({32}, 3, torch::kInt64),
                          torch::cat({begin, source}, 1), torch::cat({source, end}, 1)};
    optimiser.zero_grad();
    const nn::SequenceLoss loss = nn::sequence_loss(*model, batch);
    loss.loss.backward();
    optimiser.step();
    last = loss.nll;
    if (i == 0) first = last;
  }
  if (!(last < 0.2 * first)) return 1;

  nn::save_model(argv[1], *model);
  const auto loaded = nn::load_model(argv[1]);
  const torch::Tensor source = torch::tensor({{5, 7, 4}}, torch::kInt64);
  const torch::Tensor lengths = torch::tensor({3}, torch::kInt64);
  const auto state = loaded->start(source, lengths, 4);
  torch::Tensor token = loaded->first_tokens(source, lengths);
  for (const std::int64_t expected : {5, 7, 4, 3}) {
    token = loaded->step(*state, token).argmax(-1);
    if (token.item<std::int64_t>() != expected) return 2;
  }
  std::printf("with_nn: ok\n");
  return 0;
}
