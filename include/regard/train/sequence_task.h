// SPDX-License-Identifier: Apache-2.0
// Training of a sequence model on pairs of texts: translation, summaries. Beside the weights the
// folder gets the vocabulary, as vocabulary.model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "regard/nn/sequence_model.h"
#include "regard/text/batches.h"
#include "regard/text/parallel_corpus.h"
#include "regard/text/vocabulary.h"
#include "regard/train/task.h"

namespace regard::train {

// Pairs as tensors: sources end with kEnd, targets in begin with kBegin, targets out end with kEnd;
// all are padded to the longest.
nn::Batch to_tensors(const std::vector<text::TokenPair>& pairs);

class SequenceTask : public Task {
 public:
  // What is given must outlive the task; `validation` may be null. label_smoothing: from 0 to below
  // 1. std::invalid_argument for options that make no sense.
  SequenceTask(std::shared_ptr<nn::SequenceModel> model, const text::Vocabulary& vocabulary,
               const text::ParallelCorpus& corpus, const text::ParallelCorpus* validation,
               const text::BatchOptions& batches, double label_smoothing);

  torch::nn::Module& model() override { return *model_; }
  const char* unit() const override { return "tokens"; }
  nlohmann::json identity() const override;
  std::optional<TaskBatch> next() override;
  Place place() const override;
  void seek(const Place& place) override;
  double epoch_fraction() const override { return stream_.epoch_fraction(); }
  std::string news() override;
  bool validates() const override { return validation_ != nullptr; }
  Metrics validate() override;
  void save_beginning(const std::filesystem::path& folder) const override;
  void save_model(const std::filesystem::path& folder) const override;

 private:
  std::shared_ptr<nn::SequenceModel> model_;
  const text::Vocabulary& vocabulary_;
  const text::ParallelCorpus& corpus_;
  const text::ParallelCorpus* validation_;
  text::BatchOptions batches_;
  double label_smoothing_;
  text::BatchStream stream_;
  text::LeftOut told_;
};

}  // namespace regard::train
