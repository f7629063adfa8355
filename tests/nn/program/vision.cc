// SPDX-License-Identifier: Apache-2.0
#include "any_model.h"
#include "regard/nn/cat.h"
#include "regard/nn/crossvit.h"
#include "regard/nn/vit.h"
#include "request.h"

namespace nn = regard::nn;

// Logits, or what "output" asks for ("encoded", "pooled"); hidden.N (hidden.N.B of a branch), with
// "maps" the weights of layer N's attention, map.N, and with "rollout" that.
void run_vision(Request& request) {
  const auto model = std::dynamic_pointer_cast<nn::ImageClassifier>(any_model(request));
  if (model == nullptr) throw std::invalid_argument("request: not a classifier of images");
  const torch::Tensor pixels = request.tensor("pixels");
  const auto hidden = [&](const std::string& name, const torch::Tensor& state) {
    request.out["hidden." + name] = state.detach().contiguous();
  };
  const auto vit = std::dynamic_pointer_cast<nn::Vit>(model);
  std::int64_t number = 0;
  if (vit != nullptr) {
    for (const auto& state : vit->hidden_states(pixels)) hidden(std::to_string(number++), state);
    if (request.json.value("maps", false))
      for (std::int64_t layer = 0; layer < vit->layers(); ++layer)
        request.out["map." + std::to_string(layer)] = vit->attention_map(pixels, layer);
  } else if (const auto cross = std::dynamic_pointer_cast<nn::CrossVit>(model)) {
    for (const auto& state : cross->hidden_states(pixels)) {
      for (std::size_t i = 0; i < 2; ++i)
        hidden(std::to_string(number) + "." + std::to_string(i), state[i]);
      ++number;
    }
  } else if (const auto cat = std::dynamic_pointer_cast<nn::Cat>(model)) {
    for (const auto& state : cat->hidden_states(pixels)) hidden(std::to_string(number++), state);
  }
  if (request.json.value("rollout", false)) request.out["rollout"] = model->rollout(pixels);
  const std::string asked = request.json.value("output", "logits");
  if (asked == "encoded") return request.answer(vit->encode(pixels));
  if (asked == "pooled") return request.answer(vit->pooled(vit->encode(pixels)));
  request.answer(model->forward(pixels));
}
