// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/curve.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "regard/nn/sequence_model.h"
#include "regard/train/progress.h"
#include "regard/train/sequence_task.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path source, target, valid_source, valid_target, out, vocabulary;
  text::VocabularyOptions pieces;
  ModelFlags model;
  text::BatchOptions batches;
  double label_smoothing = 0.1;
  train::TrainOptions train;
  int threads = 0;
  bool json = false;
};

// The folder's own vocabulary if training goes on there; else the one that was given; else a new
// one.
text::Vocabulary vocabulary_of(const Options& options) {
  const fs::path kept = options.out / "vocabulary.model";
  if (fs::exists(kept)) return text::Vocabulary::load(kept);
  if (!options.vocabulary.empty()) return text::Vocabulary::load(options.vocabulary);
  std::cerr << "learning a vocabulary of up to " << options.pieces.size << " pieces\n";
  return text::Vocabulary::train({options.source, options.target}, options.pieces);
}

void print(const train::Outcome& outcome, const Options& options, std::int64_t parameters,
           const std::string& command) {
  if (options.json) {
    nlohmann::json json{{"ended_by", outcome.ended_by}, {"steps", outcome.steps},
                        {"tokens", outcome.tokens},     {"seconds", outcome.seconds},
                        {"parameters", parameters},     {"best_step", outcome.best_step},
                        {"model", options.out.string()}};
    json["processor_seconds"] = outcome.processor_seconds;
    if (std::isfinite(outcome.best_cost)) json["best_nll"] = outcome.best_cost;
    std::cout << json.dump() << '\n';
    return;
  }
  std::cout << "trained " << outcome.steps << " steps (" << outcome.tokens << " tokens) in "
            << train::duration(outcome.seconds) << ", until " << outcome.ended_by << '\n';
  if (std::isfinite(outcome.best_cost)) {
    std::cout << "best validation loss " << outcome.best_cost << " (perplexity "
              << std::exp(outcome.best_cost) << ") at step " << outcome.best_step << '\n';
  }
  if (outcome.ended_by == "stopped") {
    std::cout << "the same command goes on from here\n";
  } else {
    std::cout << "the model is in " << options.out.string() << ". Try:  regard " << command << " "
              << options.out.string() << " < FILE\n";
  }
}

void run(const Options& options, const std::string& command) {
  if (options.valid_source.empty() != options.valid_target.empty()) {
    throw std::invalid_argument("--valid-source and --valid-target: expected both or none");
  }
  train::check(options.train);
  if (options.threads > 0) at::set_num_threads(options.threads);
  // Also tells MKL to use as many threads every time, so that sums have one order.
  at::set_num_threads(at::get_num_threads());

  const text::ParallelCorpus corpus(options.source, options.target);
  std::unique_ptr<text::ParallelCorpus> validation;
  if (!options.valid_source.empty()) {
    validation = std::make_unique<text::ParallelCorpus>(options.valid_source, options.valid_target);
  }
  const text::Vocabulary vocabulary = vocabulary_of(options);
  torch::manual_seed(options.train.seed);
  const auto model =
      nn::make_model(model_config(options.model, vocabulary.size(), options.batches.max_length));
  std::int64_t parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += parameter.numel();
  std::cerr << corpus.lines() << " pairs, " << vocabulary.size() << " pieces, " << parameters
            << " parameters, " << at::get_num_threads() << " threads\n";

  train::SequenceTask task(model, vocabulary, corpus, validation.get(), options.batches,
                           options.label_smoothing);
  train::Trainer trainer(task, options.out, options.train);
  trainer.add(std::make_shared<train::JsonLog>(options.out / "log.jsonl"));
  trainer.add(std::make_shared<train::ProgressLine>(stderr));
  trainer.add(std::make_shared<CurvePicture>(options.out / "log.jsonl", options.out / "curve.png"));
  trainer.stop_when(&interrupt_flag());
  listen_to_signals();
  print(trainer.train(), options, parameters, command);
}

void add_task(CLI::App& train, const std::string& task, const std::string& what) {
  CLI::App* command = train.add_subcommand(task, what);
  const auto options = std::make_shared<Options>();
  train::TrainOptions& t = options->train;
  text::BatchOptions& batches = options->batches;
  batches.cut_sources = task == "summarise";

  const std::string files = "Text", model = "Model", training = "Training";
  const auto add = [command](const std::string& name, auto& value, const std::string& help,
                             const std::string& group) {
    return command->add_option(name, value, help)->capture_default_str()->group(group);
  };
  add("--source", options->source, "A file with a source text on each line", files)->required();
  add("--target", options->target, "Its targets, line by line", files)->required();
  add("--valid-source", options->valid_source, "The same to validate on", files);
  add("--valid-target", options->valid_target, "", files);
  add("--out", options->out, "The model's folder; one that holds a training goes on", files)
      ->required();
  add("--vocabulary", options->vocabulary, "A vocabulary.model to use instead of a new one", files);
  add("--vocabulary-size", options->pieces.size, "Pieces of a new vocabulary", files);
  add("--vocabulary-type", options->pieces.type, "bpe or unigram", files);
  add("--max-length", batches.max_length,
      batches.cut_sources ? "Tokens: longer sources are cut, pairs with longer targets left out"
                          : "Pairs with more tokens on a side are left out",
      files);

  add_model_flags(*command, options->model, model);

  add("--epochs", t.max_epochs, "End after so many passes over the data; 0 is no limit", training);
  add("--steps", t.max_steps, "End after so many steps; 0 is no limit", training);
  add("--minutes", t.max_minutes, "End after so many minutes; 0 is no limit", training);
  add("--patience", t.patience, "End after so many validations without a gain; 0 is never",
      training);
  add("--batch-tokens", batches.tokens, "Positions of a batch, padding included", training);
  add("--accumulate", t.accumulate, "Batches that make one step", training);
  add("--optimizer", t.optimizer, "adam or adamw", training);
  add("--learning-rate", t.learning_rate, "The highest", training);
  add("--schedule", t.schedule, "inverse-sqrt, cosine (needs --steps) or constant", training);
  add("--warmup", t.warmup_steps, "Steps in which the learning rate rises", training);
  add("--weight-decay", t.weight_decay, "", training);
  add("--clip", t.clip_norm, "The gradient's greatest norm; 0 does not clip", training);
  add("--label-smoothing", options->label_smoothing, "", training);
  add("--validate-every", t.validate_every, "Steps; 0 is once an epoch", training);
  add("--checkpoint-every", t.checkpoint_every, "Steps", training);
  add("--seed", t.seed, "Of weights, dropout and the order of the data", training);
  add("--threads", options->threads, "0: as PyTorch chooses", training);
  command->add_flag("--bf16", t.bf16, "Products in bfloat16 (AVX512-BF16 or AMX)")->group(training);
  command->add_flag("--json", options->json, "Say what came of it as JSON");
  command->footer(
      "Killed at any moment and started again, training goes on from its last checkpoint to the "
      "same weights.\n"
      "Folder: config.json, model.safetensors (the best), vocabulary.model, training.safetensors "
      "(the last), log.jsonl, curve.png\n\n"
      "Examples:\n" +
      (task == "translate"
           ? std::string(
                 "  regard train translate --source train.en --target train.de --out en-de\n"
                 "  regard train translate --source train.en --target train.de --model transformer "
                 "\\\n      --valid-source valid.en --valid-target valid.de --patience 5 --out "
                 "en-de")
           : std::string("  regard train summarise --source data/summaries/train.long \\\n      "
                         "--target data/summaries/train.short --minutes 60 --out summariser")));
  command->callback([options, task] {
    options->batches.seed = options->train.seed;
    run(*options, task);
  });
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* train = app.add_subcommand("train", "Trains a model on your files");
  train->require_subcommand(1);
  add_task(*train, "translate", "Trains a translator on parallel text");
  add_task(*train, "summarise", "Trains a summariser on long texts and their short ones");
  add_train_detect(*train);
}

}  // namespace regard::cli
