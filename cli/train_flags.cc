// SPDX-License-Identifier: Apache-2.0
#include "cli/train_flags.h"
#include "cli/flags.h"

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/curve.h"
#include "cli/interrupt.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/model.h"
#include "regard/train/progress.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

// Batches have ever other sizes. Not at every step: what it gives back is asked for again.
struct SpareMemory : train::Listener {
  void on_step(const train::Step& step) override {
    if (step.step % 32 == 0) nn::give_spare_memory_back();
  }
};

void say(const train::Outcome& outcome, const TrainFlags& flags, std::int64_t parameters,
         const std::string& unit, const std::string& cost, const std::string& next) {
  if (flags.json) {
    nlohmann::json json{{"ended_by", outcome.ended_by}, {"steps", outcome.steps},
                        {"tokens", outcome.tokens},     {"seconds", outcome.seconds},
                        {"parameters", parameters},     {"best_step", outcome.best_step},
                        {"model", flags.out.string()}};
    json["processor_seconds"] = outcome.processor_seconds;
    if (std::isfinite(outcome.best_cost)) json["best_" + cost] = outcome.best_cost;
    std::cout << json.dump() << '\n';
    return;
  }
  std::cout << "trained " << outcome.steps << " steps (" << outcome.tokens << ' ' << unit << ") in "
            << train::duration(outcome.seconds) << ", until " << outcome.ended_by << '\n';
  if (std::isfinite(outcome.best_cost)) {
    std::cout << "best validation " << cost << " " << outcome.best_cost;
    if (cost == "nll") std::cout << " (perplexity " << std::exp(outcome.best_cost) << ")";
    std::cout << " at step " << outcome.best_step << '\n';
  }
  if (outcome.ended_by == "stopped") {
    std::cout << "the same command goes on from here\n";
  } else {
    std::cout << "the model is in " << flags.out.string() << ". Try:  " << next << "\n";
  }
}

void recompute_layers(train::Task& task) {
  auto* model = dynamic_cast<nn::Model*>(&task.model());
  if (model == nullptr || !model->can_recompute_layers()) {
    throw std::invalid_argument(
        "--recompute: not for this model; expected an encoder of texts (BERT, RoBERTa, "
        "Longformer), a language model (GPT-2, Llama) or ViT");
  }
  model->recompute_layers(true);
}

}  // namespace

void add_train_flags(CLI::App& command, TrainFlags& flags) {
  train::TrainOptions& t = flags.options;
  const std::string training = "Training";
  const auto add = [&](const std::string& name, auto& value, const std::string& help) {
    return add_flag_of(command, name, value, help, training);
  };
  add_flag_of(command, "--out", flags.out, "The model's folder; one that holds a training goes on",
              "Text")
      ->required();
  add("--epochs", t.max_epochs, "End after so many passes over the data; 0 is no limit");
  add("--steps", t.max_steps, "End after so many steps; 0 is no limit");
  add("--minutes", t.max_minutes, "End after so many minutes; 0 is no limit");
  add("--patience", t.patience, "End after so many validations without a gain; 0 is never");
  add("--accumulate", t.accumulate, "Batches that make one step");
  add("--optimizer", t.optimizer, "adam or adamw");
  add("--learning-rate", t.learning_rate, "The highest");
  add("--schedule", t.schedule, "inverse-sqrt, cosine (needs --steps) or constant");
  add("--warmup", t.warmup_steps, "Steps in which the learning rate rises");
  add("--weight-decay", t.weight_decay, "");
  add("--clip", t.clip_norm, "The gradient's greatest norm; 0 does not clip");
  add("--validate-every", t.validate_every, "Steps; 0 is once an epoch");
  add("--checkpoint-every", t.checkpoint_every, "Steps");
  add("--seed", t.seed, "Of weights, dropout and the order of the data")->check(kSeeds);
  add_threads(command, flags.threads)->group(training);
  command.add_flag("--bf16", t.bf16, "Products in bfloat16 (AVX512-BF16 or AMX)")->group(training);
  command
      .add_flag(
          "--recompute", flags.recompute,
          "Compute each layer again in the backward pass instead of keeping what it made: the "
          "same weights in less memory, for a forward pass more (encoders of text, language "
          "models, ViT)")
      ->group(training);
  command.add_flag("--json", flags.json, "Say what came of it as JSON");
}

std::string train_footer(const std::string& files, const std::string& examples) {
  return "Killed at any moment and started again, training goes on from its last checkpoint to the "
         "same weights.\nFolder: config.json, model.safetensors (the best), " +
         files + ", training.safetensors (the last), log.jsonl, curve.png\n\nExamples:\n" +
         examples;
}

void begin_training(const TrainFlags& flags) {
  with_flag_names([&] { train::check(flags.options); });
  if (flags.threads > 0) at::set_num_threads(flags.threads);
  // Also tells MKL to use as many threads every time, so that sums have one order.
  at::set_num_threads(at::get_num_threads());
  torch::manual_seed(flags.options.seed);
}

train::Outcome run_training(train::Task& task, const TrainFlags& flags, const std::string& cost,
                            const std::string& next) {
  if (flags.recompute) recompute_layers(task);
  std::int64_t parameters = 0;
  for (const auto& parameter : task.model().parameters()) parameters += parameter.numel();
  std::cerr << parameters << " parameters, " << at::get_num_threads() << " threads\n";
  train::Trainer trainer(task, flags.out, flags.options);
  trainer.add(std::make_shared<train::JsonLog>(flags.out / "log.jsonl"));
  trainer.add(std::make_shared<train::ProgressLine>(stderr, task.unit()));
  trainer.add(std::make_shared<CurvePicture>(flags.out / "log.jsonl", flags.out / "curve.png",
                                             task.unit()));
  trainer.add(std::make_shared<SpareMemory>());
  trainer.stop_when(&interrupt_flag());
  listen_to_signals();
  const train::Outcome outcome = trainer.train();
  say(outcome, flags, parameters, task.unit(), cost, next);
  return outcome;
}

}  // namespace regard::cli
