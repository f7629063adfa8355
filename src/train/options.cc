// SPDX-License-Identifier: Apache-2.0
#include "regard/train/options.h"

#include <cmath>
#include <numbers>
#include <stdexcept>

namespace regard::train {
namespace {

void expect(bool good, const std::string& name, double value, const std::string& expected) {
  if (good) return;
  std::string shown = std::to_string(value);
  while (shown.find('.') != std::string::npos && (shown.back() == '0' || shown.back() == '.')) {
    const bool point = shown.back() == '.';
    shown.pop_back();
    if (point) break;
  }
  throw std::invalid_argument(name + ": " + shown + "; expected " + expected);
}

void expect_one_of(const std::string& name, const std::string& value,
                   std::initializer_list<const char*> choices) {
  std::string listed;
  for (const char* choice : choices) {
    if (value == choice) return;
    listed += (listed.empty() ? "" : ", ") + std::string(choice);
  }
  throw std::invalid_argument(name + ": '" + value + "'; expected one of " + listed);
}

}  // namespace

void check(const TrainOptions& o) {
  expect_one_of("optimizer", o.optimizer, {"adam", "adamw"});
  expect_one_of("schedule", o.schedule, {"inverse-sqrt", "cosine", "constant"});
  expect(o.learning_rate > 0 && std::isfinite(o.learning_rate), "learning_rate", o.learning_rate,
         "a number above 0");
  expect(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "0 to below 1");
  expect(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "0 to below 1");
  expect(o.epsilon > 0, "epsilon", o.epsilon, "above 0");
  expect(o.weight_decay >= 0, "weight_decay", o.weight_decay, "0 or more");
  expect(o.warmup_steps >= 0, "warmup_steps", static_cast<double>(o.warmup_steps), "0 or more");
  expect(o.final_rate >= 0 && o.final_rate <= 1, "final_rate", o.final_rate, "0 to 1");
  expect(o.clip_norm >= 0, "clip_norm", o.clip_norm, "0 (none) or more");
  expect(o.accumulate >= 1, "accumulate", static_cast<double>(o.accumulate), "at least 1");
  expect(o.max_epochs >= 0, "max_epochs", o.max_epochs, "0 (no limit) or more");
  expect(o.max_minutes >= 0, "max_minutes", o.max_minutes, "0 (no limit) or more");
  expect(o.max_steps >= 0, "max_steps", static_cast<double>(o.max_steps), "0 (no limit) or more");
  expect(o.max_epochs > 0 || o.max_minutes > 0 || o.max_steps > 0, "max_epochs", 0,
         "a limit: epochs, minutes or steps");
  expect(o.schedule != "cosine" || o.max_steps > o.warmup_steps, "max_steps",
         static_cast<double>(o.max_steps), "more than warmup_steps: the cosine ends there");
  expect(o.validate_every >= 0, "validate_every", static_cast<double>(o.validate_every),
         "0 (each epoch) or more");
  expect(o.patience >= 0, "patience", static_cast<double>(o.patience), "0 (never) or more");
  expect(o.checkpoint_every >= 1, "checkpoint_every", static_cast<double>(o.checkpoint_every),
         "at least 1");
}

double learning_rate(const TrainOptions& o, std::int64_t step) {
  const auto now = static_cast<double>(step), warmup = static_cast<double>(o.warmup_steps);
  if (now < warmup) return o.learning_rate * now / warmup;
  if (o.schedule == "inverse-sqrt") {
    return o.learning_rate * std::sqrt(std::max(warmup, 1.0) / std::max(now, 1.0));
  }
  if (o.schedule == "cosine") {
    const double end = static_cast<double>(o.max_steps);
    const double along = std::min(1.0, (now - warmup) / (end - warmup));
    const double height = 0.5 * (1 + std::cos(std::numbers::pi * along));
    return o.learning_rate * (o.final_rate + (1 - o.final_rate) * height);
  }
  return o.learning_rate;
}

nlohmann::json what_fixes_the_weights(const TrainOptions& o) {
  nlohmann::json json{{"optimizer", o.optimizer}, {"learning_rate", o.learning_rate},
                      {"beta1", o.beta1},         {"beta2", o.beta2},
                      {"epsilon", o.epsilon},     {"weight_decay", o.weight_decay},
                      {"schedule", o.schedule},   {"warmup_steps", o.warmup_steps},
                      {"clip_norm", o.clip_norm}, {"accumulate", o.accumulate},
                      {"bf16", o.bf16},           {"seed", o.seed}};
  if (o.schedule == "cosine") {
    json["max_steps"] = o.max_steps;
    json["final_rate"] = o.final_rate;
  }
  return json;
}

}  // namespace regard::train
