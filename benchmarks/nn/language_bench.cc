// SPDX-License-Identifier: Apache-2.0
// language_bench FOLDER BATCH.safetensors THREADS: an encoder with a "sequence" head on one batch
// (classifier_turns.h). benchmarks/nn/language.py takes turns with transformers.
#include "classifier_turns.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"
#include "regard/nn/text_encoder.h"

namespace nn = regard::nn;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  regard::nn::keep_freed_memory();
  torch::set_num_threads(std::stoi(argv[3]));
  const auto model = nn::open_model<nn::TextEncoder>(argv[1]);
  const auto tensors = nn::read_safetensors(argv[2]).tensors;
  nn::TextInput input;
  input.tokens = tensors.at("tokens");
  input.lengths = tensors.at("lengths");
  take_turns(*model, tensors.at("labels"), [&] { return model->forward(input); });
  return 0;
}
