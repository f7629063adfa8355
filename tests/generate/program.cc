// SPDX-License-Identifier: Apache-2.0
// generate_program MODEL IN.safetensors OUT.safetensors BEAMS LENGTH_PENALTY MAX_LENGTH
//
// Reads a folder of transformers' and "source" (batch, length), "lengths" (batch); writes the best
// sequence of each row, "tokens.N" with its end token if it has one, and "scores" (batch).
#include <cstdlib>
#include <iostream>

#include "regard/generate/generate.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"

namespace nn = regard::nn;

int main(int argc, char** argv) try {
  if (argc != 7) throw std::invalid_argument("expected six arguments");
  const auto model = nn::open_model<nn::SequenceModel>(argv[1]);
  const auto in = nn::read_safetensors(argv[2]).tensors;
  const std::int64_t beams = std::atoll(argv[4]), length = std::atoll(argv[6]);
  const torch::Tensor source = in.at("source");
  regard::generate::ModelStepper stepper(*model, source, in.at("lengths"), length);
  const regard::generate::Limits limits{
      .max_lengths = std::vector<std::int64_t>(static_cast<std::size_t>(source.size(0)), length)};
  std::vector<regard::generate::Generated> best;
  if (beams == 1) {
    best = regard::generate::greedy(stepper, stepper.first_tokens(), limits);
  } else {
    const regard::generate::BeamOptions options{.beams = beams,
                                                .length_penalty = std::atof(argv[5])};
    for (auto& row :
         regard::generate::beam_search(stepper, stepper.first_tokens(), limits, options)) {
      best.push_back(row.front());
    }
  }
  nn::TensorFile out;
  std::vector<double> scores;
  for (std::size_t row = 0; row < best.size(); ++row) {
    if (best[row].ended) best[row].tokens.push_back(nn::kEnd);
    out.tensors["tokens." + std::to_string(row)] = torch::tensor(best[row].tokens, torch::kInt64);
    scores.push_back(best[row].score);
  }
  out.tensors["scores"] = torch::tensor(scores, torch::kFloat64);
  nn::write_safetensors(argv[3], out);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
