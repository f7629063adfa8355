// SPDX-License-Identifier: Apache-2.0
// vision_bench FOLDER BATCH.safetensors THREADS: a classifier of images on one batch
// (classifier_turns.h). benchmarks/nn/vision.py takes turns with transformers.
#include "classifier_turns.h"
#include "regard/nn/image_classifier.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"

namespace nn = regard::nn;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  regard::nn::keep_freed_memory();
  torch::set_num_threads(std::stoi(argv[3]));
  const auto model = nn::open_model<nn::ImageClassifier>(argv[1]);
  const auto tensors = nn::read_safetensors(argv[2]).tensors;
  const torch::Tensor pixels = tensors.at("pixels");
  take_turns(*model, tensors.at("labels"), [&] { return model->forward(pixels); });
  return 0;
}
