// SPDX-License-Identifier: Apache-2.0
#include "regard/train/sequence_task.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "regard/nn/checkpoint.h"
#include "regard/nn/loss.h"

namespace regard::train {
namespace {

std::string lines_of(const std::vector<text::TokenPair>& pairs) {
  std::string lines = "lines ";
  for (std::size_t i = 0; i < pairs.size() && i < 5; ++i) {
    lines += (i > 0 ? ", " : "") + std::to_string(pairs[i].line);
  }
  return lines + (pairs.size() > 5 ? ", ..." : "");
}

}  // namespace

nn::Batch to_tensors(const std::vector<text::TokenPair>& pairs) {
  std::size_t longest_source = 0, longest_target = 0;
  for (const auto& pair : pairs) {
    longest_source = std::max(longest_source, pair.source.size());
    longest_target = std::max(longest_target, pair.target.size());
  }
  const auto rows = static_cast<std::int64_t>(pairs.size());
  const auto source_len = static_cast<std::int64_t>(longest_source) + 1;
  const auto target_len = static_cast<std::int64_t>(longest_target) + 1;
  nn::Batch batch{torch::full({rows, source_len}, nn::kPad, torch::kInt64),
                  torch::empty({rows}, torch::kInt64),
                  torch::full({rows, target_len}, nn::kPad, torch::kInt64),
                  torch::full({rows, target_len}, nn::kPad, torch::kInt64)};
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto& [source, target, line] = pairs[static_cast<std::size_t>(row)];
    std::int64_t* s = batch.source.data_ptr<std::int64_t>() + row * source_len;
    *std::copy(source.begin(), source.end(), s) = nn::kEnd;
    batch.source_lengths[row] = static_cast<std::int64_t>(source.size()) + 1;
    std::int64_t* in = batch.target_in.data_ptr<std::int64_t>() + row * target_len;
    *in = nn::kBegin;
    std::copy(target.begin(), target.end(), in + 1);
    std::int64_t* out = batch.target_out.data_ptr<std::int64_t>() + row * target_len;
    *std::copy(target.begin(), target.end(), out) = nn::kEnd;
  }
  return batch;
}

SequenceTask::SequenceTask(std::shared_ptr<nn::SequenceModel> model,
                           const text::Vocabulary& vocabulary, const text::ParallelCorpus& corpus,
                           const text::ParallelCorpus* validation,
                           const text::BatchOptions& batches, double label_smoothing)
    : model_(std::move(model)),
      vocabulary_(vocabulary),
      corpus_(corpus),
      validation_(validation),
      batches_(batches),
      label_smoothing_(label_smoothing),
      stream_(corpus, vocabulary, batches) {
  if (!(label_smoothing >= 0 && label_smoothing < 1)) {
    throw std::invalid_argument("label_smoothing: " + std::to_string(label_smoothing) +
                                "; expected 0 to below 1");
  }
}

nlohmann::json SequenceTask::identity() const {
  return {{"model", model_->config()},
          {"data", {{"lines", corpus_.lines()}, {"fingerprint", corpus_.fingerprint()}}},
          {"batches",
           {{"label_smoothing", label_smoothing_},
            {"batch_tokens", batches_.tokens},
            {"max_length", batches_.max_length},
            {"cut_sources", batches_.cut_sources},
            {"chunk_pairs", batches_.chunk_pairs},
            {"data_seed", batches_.seed}}}};
}

std::optional<TaskBatch> SequenceTask::next() {
  const auto pairs = stream_.next();
  if (!pairs) return std::nullopt;
  TaskBatch batch;
  for (const auto& pair : *pairs) {
    batch.count += static_cast<std::int64_t>(pair.target.size()) + 1;
  }
  batch.where = lines_of(*pairs);
  batch.loss = [this, tensors = to_tensors(*pairs)] {
    const auto loss = nn::sequence_loss(*model_, tensors, label_smoothing_);
    return Loss{loss.loss, loss.nll};
  };
  return batch;
}

Place SequenceTask::place() const {
  const auto& position = stream_.position();
  return {position.epoch, position.chunk, position.batch};
}

void SequenceTask::seek(const Place& place) {
  stream_.seek({place.epoch, place.chunk, place.batch});
}

// What was left out: said when it is first known, and again when it has doubled.
std::string SequenceTask::news() {
  const text::LeftOut& now = stream_.left_out();
  if (now.empty + now.too_long <= 2 * (told_.empty + told_.too_long)) return "";
  told_ = now;
  std::string said = "left out: ";
  if (now.empty > 0) {
    said += std::to_string(now.empty) + " pairs with an empty side (line " +
            std::to_string(now.first_empty) + (now.empty > 1 ? ", ...)" : ")");
  }
  if (now.too_long > 0) {
    said += (now.empty > 0 ? ", " : "") + std::to_string(now.too_long) + " pairs longer than " +
            std::to_string(batches_.max_length) + " tokens (line " +
            std::to_string(now.first_too_long) + (now.too_long > 1 ? ", ...; " : "; ") +
            "the longest has " + std::to_string(now.longest) + ")";
  }
  return said;
}

Metrics SequenceTask::validate() {
  text::BatchOptions whole = batches_;
  whole.shuffle = false;
  text::BatchStream stream(*validation_, vocabulary_, whole);
  double sum = 0;
  std::int64_t tokens = 0;
  while (const auto pairs = stream.next()) {
    const auto loss = nn::sequence_loss(*model_, to_tensors(*pairs));
    sum += loss.nll * static_cast<double>(loss.tokens);
    tokens += loss.tokens;
  }
  const double nll = sum / static_cast<double>(tokens);
  return {nll, nll, {{"perplexity", std::exp(nll)}}};
}

void SequenceTask::save_beginning(const std::filesystem::path& folder) const {
  vocabulary_.save(folder / "vocabulary.model");
}

void SequenceTask::save_model(const std::filesystem::path& folder) const {
  nn::save_model(folder, *model_);
}

}  // namespace regard::train
