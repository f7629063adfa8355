// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/model_flags.h"
#include "cli/train_flags.h"
#include "regard/nn/sequence_model.h"
#include "regard/train/sequence_task.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  fs::path source, target, valid_source, valid_target, vocabulary;
  text::VocabularyOptions pieces;
  ModelFlags model;
  text::BatchOptions batches;
  double label_smoothing = 0.1;
  TrainFlags train;
};

// The folder's own vocabulary if training goes on there; else the one that was given; else a new
// one.
text::Vocabulary vocabulary_of(const TrainOptions& options) {
  const fs::path kept = options.train.out / "vocabulary.model";
  if (fs::exists(kept)) return text::Vocabulary::load(kept);
  if (!options.vocabulary.empty()) return text::Vocabulary::load(options.vocabulary);
  std::cerr << "learning a vocabulary of up to " << options.pieces.size << " pieces\n";
  return text::Vocabulary::train({options.source, options.target}, options.pieces);
}

void run(const TrainOptions& options, const std::string& command) {
  if (options.valid_source.empty() != options.valid_target.empty()) {
    throw std::invalid_argument("--valid-source and --valid-target: expected both or none");
  }
  begin_training(options.train);
  const text::ParallelCorpus corpus(options.source, options.target);
  std::unique_ptr<text::ParallelCorpus> validation;
  if (!options.valid_source.empty()) {
    validation = std::make_unique<text::ParallelCorpus>(options.valid_source, options.valid_target);
  }
  const text::Vocabulary vocabulary = vocabulary_of(options);
  const auto model =
      nn::make_model(model_config(options.model, vocabulary.size(), options.batches.max_length));
  std::cerr << corpus.lines() << " pairs, " << vocabulary.size() << " pieces\n";
  train::SequenceTask task(model, vocabulary, corpus, validation.get(), options.batches,
                           options.label_smoothing);
  run_training(task, options.train, "nll",
               "regard " + command + " " + options.train.out.string() + " < FILE");
}

void add_task(CLI::App& train, const std::string& task, const std::string& what) {
  CLI::App* command = train.add_subcommand(task, what);
  const auto options = std::make_shared<TrainOptions>();
  text::BatchOptions& batches = options->batches;
  batches.cut_sources = task == "summarise";

  const std::string files = "Text", model = "Model", training = "Training";
  const auto add = [command](const std::string& name, auto& value, const std::string& help,
                             const std::string& group) {
    return add_flag_of(*command, name, value, help, group);
  };
  add("--source", options->source, "A file with a source text on each line", files)->required();
  add("--target", options->target, "Its targets, line by line", files)->required();
  add("--valid-source", options->valid_source, "The same to validate on", files);
  add("--valid-target", options->valid_target, "", files);
  add("--vocabulary", options->vocabulary, "A vocabulary.model to use instead of a new one", files);
  add("--vocabulary-size", options->pieces.size, "Pieces of a new vocabulary", files);
  add("--vocabulary-type", options->pieces.type, "bpe or unigram", files)
      ->check(CLI::IsMember({"bpe", "unigram"}));
  add("--max-length", batches.max_length,
      batches.cut_sources ? "Tokens: longer sources are cut, pairs with longer targets left out"
                          : "Pairs with more tokens on a side are left out",
      files);
  add_model_flags(*command, options->model, model);
  add_train_flags(*command, options->train);
  add("--batch-tokens", batches.tokens, "Positions of a batch, padding included", training);
  add("--label-smoothing", options->label_smoothing, "", training);
  command->footer(train_footer(
      "vocabulary.model",
      task == "translate"
          ? "  regard train translate --source train.en --target train.de --out en-de\n"
            "  regard train translate --source train.en --target train.de --model transformer "
            "\\\n      --valid-source valid.en --valid-target valid.de --patience 5 --out en-de"
          : "  regard train summarise --source data/summaries/train.long \\\n      "
            "--target data/summaries/train.short --minutes 60 --out summariser"));
  command->callback([options, task] {
    options->batches.seed = options->train.options.seed;
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
  add_train_lm(*train);
  add_train_classify(*train);
}

}  // namespace regard::cli
