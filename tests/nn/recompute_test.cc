// SPDX-License-Identifier: Apache-2.0
// Layers that are computed again in the backward pass against the same model without: every
// gradient has the same bits.
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include "regard/nn/causal_lm.h"
#include "regard/nn/image_classifier.h"
#include "regard/nn/model.h"
#include "regard/nn/text_encoder.h"
#include "tests/support/messages.h"

namespace regard::nn {
namespace {

using nlohmann::json;

// What is asked of one of the models that offer it.
struct Work {
  std::string name;
  json config;
  std::function<torch::Tensor(Model&)> run;
};

torch::Tensor tokens(std::int64_t batch, std::int64_t length) {
  return (torch::arange(batch * length, torch::kInt64) * 7919 % 40 + 4).view({batch, length});
}

torch::Tensor read_texts(Model& model) {
  TextInput input;
  input.tokens = tokens(2, 30);
  input.lengths = torch::tensor({30, 17}, torch::kInt64);
  return dynamic_cast<TextEncoder&>(model).forward(input);
}

torch::Tensor read_rows(Model& model) {
  return dynamic_cast<CausalLM&>(model).hidden_states(tokens(2, 20)).back();
}

torch::Tensor read_documents(Model& model) {
  return dynamic_cast<CausalLM&>(model).packed_features(tokens(1, 20).squeeze(0),
                                                        torch::tensor({0, 7, 20}, torch::kInt64));
}

torch::Tensor read_images(Model& model) {
  const torch::Tensor pixels = torch::linspace(-1, 1, 2 * 3 * 16 * 16).view({2, 3, 16, 16});
  return dynamic_cast<ImageClassifier&>(model).forward(pixels);
}

json sizes(const std::string& kind, const json& more) {
  json config{{"kind", kind}, {"dim", 16}, {"heads", 2}, {"feed_forward", 24}, {"layers", 3}};
  config.update(more);
  return config;
}

std::vector<Work> works() {
  const json text{{"vocab", 50}, {"max_positions", 40}, {"head", "sequence"}};
  json long_text = text;
  long_text["windows"] = {8};
  const json words{{"vocab", 50}, {"max_positions", 40}, {"attention_dropout", 0.2}};
  const json image{{"image_size", 16}, {"patch", 4}, {"dropout", 0.2}};
  return {{"bert", sizes("bert", text), read_texts},
          {"longformer", sizes("longformer", long_text), read_texts},
          {"gpt2", sizes("gpt2", words), read_rows},
          {"gpt2_documents", sizes("gpt2", words), read_documents},
          {"llama", sizes("llama", {{"vocab", 50}}), read_rows},
          {"vit", sizes("vit", image), read_images}};
}

enum class How { kKept, kRecomputed };

// The output, the gradients of all parameters that have one, and the random number after a step.
std::vector<torch::Tensor> step(const Work& work, How how, bool bf16, bool frozen) {
  torch::manual_seed(0);
  const auto model = build_model(work.config);
  model->train();
  model->recompute_layers(how == How::kRecomputed);
  if (frozen)
    for (auto& named : model->named_parameters())
      if (named.key().find("layers.1") == std::string::npos) named.value().requires_grad_(false);
  if (bf16) {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
  const torch::Tensor out = work.run(*model);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  std::vector<torch::Tensor> results{out.detach()};
  (out.to(torch::kFloat32) * torch::linspace(-1, 1, out.numel()).view_as(out)).sum().backward();
  for (const torch::Tensor& parameter : model->parameters())
    results.push_back(parameter.grad().defined() ? parameter.grad() : torch::Tensor());
  results.push_back(torch::rand({1}));
  return results;
}

class Recompute : public testing::TestWithParam<Work> {
 protected:
  void compare(bool bf16, bool frozen) {
    const auto kept = step(GetParam(), How::kKept, bf16, frozen);
    const auto again = step(GetParam(), How::kRecomputed, bf16, frozen);
    ASSERT_EQ(kept.size(), again.size());
    std::size_t gradients = 0;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      ASSERT_EQ(kept[i].defined(), again[i].defined()) << i;
      if (!kept[i].defined()) continue;
      EXPECT_TRUE(torch::equal(kept[i], again[i])) << i;
      ++gradients;
    }
    EXPECT_GT(gradients, 5);
  }
};

TEST_P(Recompute, GradientsHaveTheSameBits) { compare(false, false); }
TEST_P(Recompute, UnderAutocast) { compare(true, false); }
TEST_P(Recompute, WhereOneLayerIsTrained) { compare(false, true); }

INSTANTIATE_TEST_SUITE_P(Models, Recompute, testing::ValuesIn(works()),
                         [](const auto& info) { return info.param.name; });

// A layer that counts its calls.
class Counting : public Model {
 public:
  Counting() { layer_ = register_module("layer", torch::nn::Linear(4, 4)); }
  std::string kind() const override { return "counting"; }
  json config() const override { return {}; }
  bool can_recompute_layers() const override { return true; }
  torch::Tensor forward(const torch::Tensor& x) {
    return run_layer(*layer_, x, [this, layer = layer_.ptr()](const torch::Tensor& y) {
      ++calls;
      return layer->forward(y);
    });
  }
  int calls = 0;

 private:
  torch::nn::Linear layer_{nullptr};
};

TEST(RecomputeCalls, OnceMoreInTheBackwardPassAndNeverWithoutGradients) {
  Counting model;
  const torch::Tensor x = torch::ones({2, 4});
  model.forward(x).sum().backward();
  EXPECT_EQ(model.calls, 1);
  model.recompute_layers(true);
  const torch::Tensor y = model.forward(x).sum();
  EXPECT_EQ(model.calls, 2);
  y.backward();
  EXPECT_EQ(model.calls, 3);
  const torch::NoGradGuard no_grad;
  model.forward(x);
  EXPECT_EQ(model.calls, 4);
}

TEST(RecomputeCalls, GradientsOfChosenInputs) {
  Counting model;
  model.recompute_layers(true);
  const torch::Tensor x = torch::ones({2, 4}, torch::requires_grad());
  const torch::Tensor weight = model.parameters()[0];
  const auto found = torch::autograd::grad({model.forward(x).sum()}, {x, weight});
  EXPECT_TRUE(torch::equal(found[0], weight.detach().sum(0).expand({2, 4})));
  EXPECT_TRUE(torch::equal(found[1], torch::full({4, 4}, 2.0)));
  EXPECT_FALSE(weight.grad().defined());
}

TEST(RecomputeCalls, WhatIsNotOffered) {
  const auto model = build_model({{"kind", "transformer"},
                                  {"source_vocab", 20},
                                  {"target_vocab", 20},
                                  {"dim", 8},
                                  {"heads", 2}});
  EXPECT_TRUE(test::says(test::message_of([&] { model->recompute_layers(true); }),
                         "transformer: a model of this kind cannot compute its layers again"));
  Counting again;
  again.recompute_layers(true);
  const torch::Tensor x = torch::ones({2, 4}, torch::requires_grad());
  const torch::Tensor y = again.forward(x).sum();
  EXPECT_TRUE(test::says(
      test::message_of([&] { torch::autograd::grad({y}, {x}, {}, {}, /*create_graph=*/true); }),
      "double backward"));
}

}  // namespace
}  // namespace regard::nn
