// SPDX-License-Identifier: Apache-2.0
#include "regard/train/options.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/messages.h"

namespace regard::train {
namespace {

using test::message_of;
using test::says;

TrainOptions with(const std::string& schedule) {
  TrainOptions o;
  o.schedule = schedule;
  o.learning_rate = 0.01;
  o.warmup_steps = 100;
  o.max_steps = 1100;
  return o;
}

TEST(Schedule, RisesLinearlyThenFalls) {
  for (const std::string schedule : {"inverse-sqrt", "cosine", "constant"}) {
    const auto o = with(schedule);
    EXPECT_DOUBLE_EQ(learning_rate(o, 1), 0.0001);
    EXPECT_DOUBLE_EQ(learning_rate(o, 50), 0.005);
    EXPECT_DOUBLE_EQ(learning_rate(o, 100), 0.01);
  }
  EXPECT_DOUBLE_EQ(learning_rate(with("inverse-sqrt"), 400), 0.005);
  EXPECT_DOUBLE_EQ(learning_rate(with("constant"), 1000), 0.01);
  EXPECT_NEAR(learning_rate(with("cosine"), 600), 0.01 * (0.01 + 0.99 / 2), 1e-12);
  EXPECT_NEAR(learning_rate(with("cosine"), 350),
              0.01 * (0.01 + 0.99 * (1 + std::cos(std::numbers::pi / 4)) / 2), 1e-12);
  EXPECT_NEAR(learning_rate(with("cosine"), 1100), 0.0001, 1e-12);
  EXPECT_NEAR(learning_rate(with("cosine"), 5000), 0.0001, 1e-12);
}

TEST(Schedule, WithoutAWarmUpItBeginsAtItsHighest) {
  for (const std::string schedule : {"inverse-sqrt", "cosine", "constant"}) {
    auto o = with(schedule);
    o.warmup_steps = 0;
    EXPECT_NEAR(learning_rate(o, 1), 0.01, 1e-6);
  }
}

TEST(TrainOptions, SayWhatIsWrong) {
  const auto said = [](auto&& change) {
    TrainOptions o;
    change(o);
    return message_of([&] { check(o); });
  };
  EXPECT_TRUE(
      says(said([](auto& o) { o.optimizer = "sgd"; }), "'sgd'; expected one of adam, adamw"));
  EXPECT_TRUE(says(said([](auto& o) { o.schedule = "linear"; }), "schedule: 'linear'"));
  EXPECT_TRUE(says(said([](auto& o) { o.learning_rate = -1; }), "learning_rate: -1; expected"));
  EXPECT_TRUE(says(said([](auto& o) { o.learning_rate = NAN; }), "learning_rate: nan"));
  EXPECT_TRUE(says(said([](auto& o) { o.beta2 = 1.5; }), "beta2: 1.5"));
  EXPECT_TRUE(says(said([](auto& o) { o.accumulate = 0; }), "accumulate: 0; expected at least 1"));
  EXPECT_TRUE(says(said([](auto& o) { o.max_epochs = 0; }), "a limit: epochs, minutes or steps"));
  EXPECT_TRUE(says(said([](auto& o) { o.schedule = "cosine"; }), "the cosine ends there"));
  EXPECT_TRUE(says(said([](auto&) {}), "nothing was thrown"));
}

}  // namespace
}  // namespace regard::train
