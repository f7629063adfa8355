// SPDX-License-Identifier: Apache-2.0
#include "regard/train/text_classification_task.h"

#include <algorithm>
#include <span>
#include <stdexcept>

#include "regard/nn/padded.h"
#include "text/shuffle.h"

namespace regard::train {
namespace {

// Texts sorted by length together: enough that a batch's lengths are alike, few enough that
// batches differ from epoch to epoch.
constexpr std::ptrdiff_t kSortedTogether = 2048;

std::int64_t length(const LabelledTexts& texts, std::int64_t row) {
  const auto& starts = texts.texts.starts;
  return starts[static_cast<std::size_t>(row) + 1] - starts[static_cast<std::size_t>(row)];
}

}  // namespace

TextClassificationTask::TextClassificationTask(Classifier classifier, const LabelledTexts& texts,
                                               const LabelledTexts* validation,
                                               const ClassificationOptions& options)
    : classifier_(std::move(classifier)),
      texts_(texts),
      validation_(validation),
      options_(options) {
  if (options.batch_tokens < 1) {
    throw std::invalid_argument("batch tokens: " + std::to_string(options.batch_tokens) +
                                "; expected at least 1");
  }
  if (texts.labels.empty() || (validation != nullptr && validation->labels.empty())) {
    throw std::runtime_error("no texts to learn from, or none to validate on");
  }
}

nlohmann::json TextClassificationTask::identity() const {
  std::uint64_t labels = 0;
  for (const std::int64_t label : texts_.labels) {
    labels = labels * 1099511628211ULL + static_cast<std::uint64_t>(label) + 1;
  }
  return {{"model", classifier_.model->config()},
          {"data",
           {{"texts", texts_.labels.size()},
            {"fingerprint", texts_.texts.fingerprint()},
            {"labels", labels}}},
          {"batches", {{"batch_tokens", options_.batch_tokens}, {"data_seed", options_.seed}}}};
}

std::vector<OrderedTask::Rows> TextClassificationTask::in_token_batches(const LabelledTexts& from,
                                                                        const Rows& rows) const {
  std::vector<Rows> batches;
  std::int64_t longest = 0;
  for (const std::int64_t row : rows) {
    longest = std::max(longest, length(from, row));
    if (batches.empty() || longest * (std::ssize(batches.back()) + 1) > options_.batch_tokens) {
      batches.emplace_back();
      longest = length(from, row);
    }
    batches.back().push_back(row);
  }
  return batches;
}

std::vector<OrderedTask::Rows> TextClassificationTask::batches_of(std::int64_t epoch) const {
  Rows rows = numbers(std::ssize(texts_.labels));
  auto random = text::seeded(options_.seed, epoch, 0);
  text::shuffle(rows, random);
  for (auto begin = rows.begin(); begin != rows.end();) {
    const auto end = begin + std::min(kSortedTogether, rows.end() - begin);
    std::stable_sort(begin, end, [this](std::int64_t a, std::int64_t b) {
      return length(texts_, a) > length(texts_, b);
    });
    begin = end;
  }
  std::vector<Rows> batches = in_token_batches(texts_, rows);
  text::shuffle(batches, random);
  return batches;
}

TextClassificationTask::Classified TextClassificationTask::classify(const LabelledTexts& from,
                                                                    const Rows& rows) const {
  std::vector<std::span<const std::int32_t>> texts;
  std::vector<std::int64_t> labels;
  for (const std::int64_t row : rows) {
    texts.emplace_back(from.texts.tokens.data() + from.texts.starts[static_cast<std::size_t>(row)],
                       static_cast<std::size_t>(length(from, row)));
    labels.push_back(from.labels[static_cast<std::size_t>(row)]);
  }
  const nn::Padded batch = nn::padded(texts, options_.pad_token);
  return {classifier_.logits(batch.values, batch.lengths).to(torch::kFloat32),
          torch::tensor(labels)};
}

TaskBatch TextClassificationTask::batch(const Rows& rows, const Place& /*place*/) {
  TaskBatch batch;
  batch.count = std::ssize(rows);
  batch.where = "text " + std::to_string(rows.front() + 1) + " and " +
                std::to_string(rows.size() - 1) + " more";
  batch.loss = [this, rows] {
    const auto [logits, labels] = classify(texts_, rows);
    const torch::Tensor loss = torch::cross_entropy_loss(logits, labels);
    return Loss{loss, loss.item<double>()};
  };
  return batch;
}

Metrics TextClassificationTask::validate() {
  Rows rows = numbers(std::ssize(validation_->labels));
  std::stable_sort(rows.begin(), rows.end(), [this](std::int64_t a, std::int64_t b) {
    return length(*validation_, a) > length(*validation_, b);
  });
  double sum = 0, right = 0;
  for (const Rows& batch : in_token_batches(*validation_, rows)) {
    const auto [logits, labels] = classify(*validation_, batch);
    sum += torch::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).item<double>();
    right += logits.argmax(-1).eq(labels).sum().item<double>();
  }
  const auto count = static_cast<double>(rows.size());
  return {sum / count, 1 - right / count, {{"accuracy", right / count}}};
}

void TextClassificationTask::save_beginning(const std::filesystem::path& folder) const {
  if (classifier_.save_beginning) classifier_.save_beginning(folder);
}

void TextClassificationTask::save_model(const std::filesystem::path& folder) const {
  classifier_.save_model(folder);
}

}  // namespace regard::train
