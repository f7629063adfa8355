// SPDX-License-Identifier: Apache-2.0
// Adam and AdamW against their papers' formulas in float64.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace regard::train {
namespace {

// Kingma and Ba 2014 (arXiv 1412.6980), algorithm 1, with L2 decay in the gradient; or decoupled
// decay (Loshchilov and Hutter 2017, arXiv 1711.05101, algorithm 2).
struct Reference {
  bool decoupled;
  torch::Tensor weight, mean, square;
  int step = 0;

  void update(const torch::Tensor& gradient, const TrainOptions& o) {
    ++step;
    torch::Tensor g = gradient.to(torch::kFloat64);
    if (decoupled) weight = weight * (1 - o.learning_rate * o.weight_decay);
    if (!decoupled) g = g + o.weight_decay * weight;
    mean = o.beta1 * mean + (1 - o.beta1) * g;
    square = o.beta2 * square + (1 - o.beta2) * g * g;
    const torch::Tensor m = mean / (1 - std::pow(o.beta1, step));
    const torch::Tensor v = square / (1 - std::pow(o.beta2, step));
    weight = weight - o.learning_rate * m / (v.sqrt() + o.epsilon);
  }
};

class Optimizers : public ::testing::TestWithParam<const char*> {};

TEST_P(Optimizers, FollowTheirPapers) {
  torch::manual_seed(3);
  TrainOptions options;
  options.optimizer = GetParam();
  options.learning_rate = 0.05;
  options.weight_decay = 0.1;
  torch::Tensor weight = torch::randn({13, 37}).requires_grad_();
  torch::Tensor untouched = torch::randn({5}).requires_grad_();
  const torch::Tensor before = untouched.detach().clone();
  const auto optimizer = make_optimizer(options, {weight, untouched});
  const torch::Tensor exact = weight.detach().to(torch::kFloat64);
  Reference reference{options.optimizer == "adamw", exact, torch::zeros_like(exact),
                      torch::zeros_like(exact)};
  for (int step = 0; step < 6; ++step) {
    const torch::Tensor gradient = torch::randn({37, 13}).t();  // does not lie side by side
    weight.mutable_grad() = gradient;
    optimizer->step();
    reference.update(gradient, options);
  }
  EXPECT_LT((weight.detach() - reference.weight).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(torch::equal(untouched.detach(), before));  // it had no gradient
}

INSTANTIATE_TEST_SUITE_P(Both, Optimizers, ::testing::Values("adam", "adamw"));

}  // namespace
}  // namespace regard::train
