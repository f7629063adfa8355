// SPDX-License-Identifier: Apache-2.0
#include "regard/train/language_task.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "regard/nn/loss.h"
#include "regard/nn/pretrained.h"
#include "text/shuffle.h"

namespace regard::train {

void TokenizedDocuments::add(const std::vector<std::int64_t>& document) {
  for (const std::int64_t token : document) tokens.push_back(static_cast<std::int32_t>(token));
  starts.push_back(static_cast<std::int64_t>(tokens.size()));
}

std::uint64_t TokenizedDocuments::fingerprint() const {
  std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a, a word at a time
  const auto mix = [&hash](std::int64_t value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 1099511628211ULL;
  };
  for (const std::int32_t token : tokens) mix(token);
  for (const std::int64_t start : starts) mix(start);
  return hash;
}

LanguageTask::LanguageTask(std::shared_ptr<nn::CausalLM> model, const TokenizedDocuments& documents,
                           const TokenizedDocuments* validation, const LanguageOptions& options,
                           std::function<void(const std::filesystem::path&)> save_tokenizer)
    : model_(std::move(model)),
      documents_(documents),
      validation_(validation),
      options_(options),
      save_tokenizer_(std::move(save_tokenizer)) {
  if (options.context < 2) {
    throw std::invalid_argument("context: " + std::to_string(options.context) +
                                " tokens; expected at least 2");
  }
  if (options.batch_tokens < options.context) {
    throw std::invalid_argument("batch tokens: " + std::to_string(options.batch_tokens) +
                                "; expected at least the context (" +
                                std::to_string(options.context) + ")");
  }
  const std::int64_t positions = model_->max_positions();
  if (positions > 0 && options.context > positions) {
    throw std::invalid_argument("context: " + std::to_string(options.context) +
                                " tokens; the model has " + std::to_string(positions) +
                                " positions");
  }
  parts_ = parts_of(documents, options.context);
  for (const TokenizedDocuments* some : {&documents_, validation_}) {
    if (some != nullptr && parts_of(*some, options.context).empty()) {
      throw std::runtime_error(
          std::string(some == validation_ ? "the validation text" : "the text") +
          " has no document of at least two tokens");
    }
  }
}

nlohmann::json LanguageTask::identity() const {
  return {{"model", model_->config()},
          {"data",
           {{"documents", documents_.documents()},
            {"tokens", documents_.tokens.size()},
            {"fingerprint", documents_.fingerprint()}}},
          {"batches",
           {{"context", options_.context},
            {"batch_tokens", options_.batch_tokens},
            {"data_seed", options_.seed}}}};
}

LanguageTask::Parts LanguageTask::parts_of(const TokenizedDocuments& documents,
                                           std::int64_t context) {
  Parts parts;
  for (std::size_t d = 0; d + 1 < documents.starts.size(); ++d) {
    const std::int64_t end = documents.starts[d + 1] - 1;  // the last token is a target alone
    for (std::int64_t begin = documents.starts[d]; begin < end; begin += context) {
      parts.push_back({begin, std::min(context, end - begin)});
    }
  }
  return parts;
}

std::vector<OrderedTask::Rows> LanguageTask::in_token_batches(const Parts& parts,
                                                              const Rows& rows) const {
  std::vector<Rows> batches;
  std::int64_t room = 0;
  for (const std::int64_t row : rows) {
    const std::int64_t length = parts[static_cast<std::size_t>(row)].length;
    if (length > room) {
      batches.emplace_back();
      room = options_.batch_tokens;
    }
    batches.back().push_back(row);
    room -= length;
  }
  return batches;
}

std::vector<OrderedTask::Rows> LanguageTask::batches_of(std::int64_t epoch) const {
  Rows rows = numbers(std::ssize(parts_));
  auto random = text::seeded(options_.seed, epoch, 0);
  text::shuffle(rows, random);
  return in_token_batches(parts_, rows);
}

Loss LanguageTask::loss_of(const TokenizedDocuments& documents, const Parts& parts,
                           const Rows& rows) {
  std::vector<std::int64_t> tokens, targets, starts{0};
  for (const std::int64_t row : rows) {
    const Part& part = parts[static_cast<std::size_t>(row)];
    const auto first = documents.tokens.begin() + part.begin;
    tokens.insert(tokens.end(), first, first + part.length);
    targets.insert(targets.end(), first + 1, first + 1 + part.length);
    starts.push_back(static_cast<std::int64_t>(tokens.size()));
  }
  const torch::Tensor features =
      model_->packed_features(torch::tensor(tokens), torch::tensor(starts));
  const auto loss = nn::token_loss(*model_, features, torch::tensor(targets));
  return {loss.loss, loss.nll};
}

TaskBatch LanguageTask::batch(const Rows& rows, const Place& /*place*/) {
  TaskBatch batch;
  for (const std::int64_t row : rows) batch.count += parts_[static_cast<std::size_t>(row)].length;
  const auto after = std::upper_bound(documents_.starts.begin(), documents_.starts.end(),
                                      parts_[static_cast<std::size_t>(rows.front())].begin);
  batch.where = "document " + std::to_string(after - documents_.starts.begin()) + " and " +
                std::to_string(rows.size() - 1) + " more";
  batch.loss = [this, rows] { return loss_of(documents_, parts_, rows); };
  return batch;
}

Metrics LanguageTask::validate() {
  double sum = 0, count = 0;
  const Parts parts = parts_of(*validation_, options_.context);
  for (const Rows& rows : in_token_batches(parts, numbers(std::ssize(parts)))) {
    double tokens = 0;
    for (const std::int64_t row : rows)
      tokens += static_cast<double>(parts[static_cast<std::size_t>(row)].length);
    sum += loss_of(*validation_, parts, rows).nll * tokens;
    count += tokens;
  }
  return {sum / count, sum / count, {{"perplexity", std::exp(sum / count)}}};
}

void LanguageTask::save_beginning(const std::filesystem::path& folder) const {
  if (save_tokenizer_) save_tokenizer_(folder);
}

void LanguageTask::save_model(const std::filesystem::path& folder) const {
  nn::save_pretrained(folder, *model_);
}

}  // namespace regard::train
