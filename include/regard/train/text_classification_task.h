// SPDX-License-Identifier: Apache-2.0
// Fine-tuning of a classifier of texts. Batches are texts of like lengths, padded to the longest,
// bounded by their tokens; cross entropy is minimised, and the best model is that of the highest
// accuracy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "regard/nn/model.h"
#include "regard/train/language_task.h"
#include "regard/train/ordered_task.h"

namespace regard::train {

struct LabelledTexts {
  TokenizedDocuments texts;
  std::vector<std::int64_t> labels;  // of each document, from 0
};

struct ClassificationOptions {
  std::int64_t batch_tokens = 4096;  // of a batch at most, padding included; a longer text is alone
  std::int64_t pad_token = 0;
  std::uint64_t seed = 1;  // of the order of texts
};

// What is known of the model: its forward pass, tokens (rows, longest) and lengths (rows), both
// int64, -> logits (rows, labels); and how it and its tokenizer are saved.
struct Classifier {
  std::shared_ptr<nn::Model> model;
  std::function<torch::Tensor(const torch::Tensor& tokens, const torch::Tensor& lengths)> logits;
  std::function<void(const std::filesystem::path&)> save_beginning, save_model;
};

class TextClassificationTask : public OrderedTask {
 public:
  // The texts must outlive the task; `validation` may be null. std::invalid_argument for options
  // that make no sense, std::runtime_error where there is no text.
  TextClassificationTask(Classifier classifier, const LabelledTexts& texts,
                         const LabelledTexts* validation, const ClassificationOptions& options);

  torch::nn::Module& model() override { return *classifier_.model; }
  const char* unit() const override { return "texts"; }
  nlohmann::json identity() const override;
  bool validates() const override { return validation_ != nullptr; }
  Metrics validate() override;
  void save_beginning(const std::filesystem::path& folder) const override;
  void save_model(const std::filesystem::path& folder) const override;

 protected:
  std::vector<Rows> batches_of(std::int64_t epoch) const override;
  TaskBatch batch(const Rows& rows, const Place& place) override;

 private:
  // Texts of `from` in the order of `rows`.
  std::vector<Rows> in_token_batches(const LabelledTexts& from, const Rows& rows) const;
  // The logits of the texts, and their labels.
  struct Classified {
    torch::Tensor logits, labels;
  };
  Classified classify(const LabelledTexts& from, const Rows& rows) const;

  Classifier classifier_;
  const LabelledTexts& texts_;
  const LabelledTexts* validation_;
  ClassificationOptions options_;
};

}  // namespace regard::train
