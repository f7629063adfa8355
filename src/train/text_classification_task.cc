// SPDX-License-Identifier: Apache-2.0
#include "regard/train/text_classification_task.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

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

struct Padded {
  torch::Tensor tokens, lengths, labels;
};

Padded padded(const LabelledTexts& from, const std::vector<std::int64_t>& rows, std::int64_t pad) {
  std::int64_t longest = 0;
  for (const std::int64_t row : rows) longest = std::max(longest, length(from, row));
  const auto count = static_cast<std::int64_t>(rows.size());
  Padded batch{torch::full({count, longest}, pad, torch::kInt64),
               torch::empty({count}, torch::kInt64), torch::empty({count}, torch::kInt64)};
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = rows[static_cast<std::size_t>(i)];
    const auto first = from.texts.tokens.begin() + from.texts.starts[static_cast<std::size_t>(row)];
    std::copy(first, first + length(from, row),
              batch.tokens.data_ptr<std::int64_t>() + i * longest);
    batch.lengths[i] = length(from, row);
    batch.labels[i] = from.labels[static_cast<std::size_t>(row)];
  }
  return batch;
}

std::vector<std::int64_t> every_row(const LabelledTexts& texts) {
  std::vector<std::int64_t> rows(texts.labels.size());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
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

std::vector<TextClassificationTask::Rows> TextClassificationTask::batches_of(
    const LabelledTexts& from, const Rows& rows) const {
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

void TextClassificationTask::order() {
  if (ordered_ == place_.epoch) return;
  Rows rows = every_row(texts_);
  auto random = text::seeded(options_.seed, place_.epoch, 0);
  text::shuffle(rows, random);
  for (auto begin = rows.begin(); begin != rows.end();) {
    const auto end = begin + std::min(kSortedTogether, rows.end() - begin);
    std::stable_sort(begin, end, [this](std::int64_t a, std::int64_t b) {
      return length(texts_, a) > length(texts_, b);
    });
    begin = end;
  }
  batches_ = batches_of(texts_, rows);
  text::shuffle(batches_, random);
  ordered_ = place_.epoch;
}

std::optional<TaskBatch> TextClassificationTask::next() {
  order();
  if (place_.batch >= std::ssize(batches_)) {
    place_ = {place_.epoch + 1, 0, 0};
    return std::nullopt;
  }
  const Rows rows = batches_[static_cast<std::size_t>(place_.batch++)];
  TaskBatch batch;
  batch.count = std::ssize(rows);
  batch.where = "text " + std::to_string(rows.front() + 1) + " and " +
                std::to_string(rows.size() - 1) + " more";
  batch.loss = [this, rows] {
    const Padded made = padded(texts_, rows, options_.pad_token);
    const torch::Tensor logits = classifier_.logits(made.tokens, made.lengths);
    const torch::Tensor loss = torch::cross_entropy_loss(logits.to(torch::kFloat32), made.labels);
    return Loss{loss, loss.item<double>()};
  };
  return batch;
}

void TextClassificationTask::seek(const Place& place) {
  place_ = place;
  order();
}

double TextClassificationTask::epoch_fraction() const {
  if (ordered_ != place_.epoch) return 0;
  return static_cast<double>(place_.batch) / static_cast<double>(batches_.size());
}

Metrics TextClassificationTask::validate() {
  Rows rows = every_row(*validation_);
  std::stable_sort(rows.begin(), rows.end(), [this](std::int64_t a, std::int64_t b) {
    return length(*validation_, a) > length(*validation_, b);
  });
  double sum = 0, right = 0;
  for (const Rows& batch : batches_of(*validation_, rows)) {
    const Padded made = padded(*validation_, batch, options_.pad_token);
    const torch::Tensor logits = classifier_.logits(made.tokens, made.lengths).to(torch::kFloat32);
    sum += torch::cross_entropy_loss(logits, made.labels, {}, at::Reduction::Sum).item<double>();
    right += logits.argmax(-1).eq(made.labels).sum().item<double>();
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
