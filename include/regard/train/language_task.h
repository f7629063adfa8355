// SPDX-License-Identifier: Apache-2.0
// Training of a decoder-only language model on documents: each token is predicted from those of its
// document before it.
//
// A batch is documents side by side, without padding: each keeps positions of its own, from 0, and
// attention does not cross from one into another (the engine's document masks). Documents that are
// longer than the context are cut into parts of that length.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "regard/nn/causal_lm.h"
#include "regard/text/documents.h"
#include "regard/train/ordered_task.h"

namespace regard::train {

// Documents as tokens, one after the other. In memory: four bytes a token.
struct TokenizedDocuments {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> starts{0};  // document d is tokens starts[d] .. starts[d + 1] - 1
  std::int64_t documents() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  void add(const std::vector<std::int64_t>& document);
  std::uint64_t fingerprint() const;  // tells documents with other contents apart
};

struct LanguageOptions {
  std::int64_t context = 512;        // tokens of a part at most
  std::int64_t batch_tokens = 4096;  // of a batch at most; at least the context
  std::uint64_t seed = 1;            // of the order of parts
};

class LanguageTask : public OrderedTask {
 public:
  // Documents begin and end with what the tokenizer and the caller put there: the last token is
  // predicted, the first is not. They must outlive the task; `validation` may be null.
  // `save_tokenizer` writes what belongs beside the weights. std::invalid_argument for options
  // that make no sense, or a context that the model has no positions for; std::runtime_error for
  // documents of which none has two tokens.
  LanguageTask(std::shared_ptr<nn::CausalLM> model, const TokenizedDocuments& documents,
               const TokenizedDocuments* validation, const LanguageOptions& options,
               std::function<void(const std::filesystem::path&)> save_tokenizer);

  torch::nn::Module& model() override { return *model_; }
  const char* unit() const override { return "tokens"; }
  nlohmann::json identity() const override;
  bool validates() const override { return validation_ != nullptr; }
  Metrics validate() override;
  void save_beginning(const std::filesystem::path& folder) const override;
  void save_model(const std::filesystem::path& folder) const override;

 protected:
  std::vector<Rows> batches_of(std::int64_t epoch) const override;
  TaskBatch batch(const Rows& rows, const Place& place) override;

 private:
  // Inputs tokens[begin] .. tokens[begin + length - 1]; each one's target is the next token.
  struct Part {
    std::int64_t begin, length;
  };
  using Parts = std::vector<Part>;
  static Parts parts_of(const TokenizedDocuments& documents, std::int64_t context);
  // Parts of `parts` in the order of `rows`.
  std::vector<Rows> in_token_batches(const Parts& parts, const Rows& rows) const;
  Loss loss_of(const TokenizedDocuments& documents, const Parts& parts, const Rows& rows);

  std::shared_ptr<nn::CausalLM> model_;
  const TokenizedDocuments& documents_;
  const TokenizedDocuments* validation_;
  LanguageOptions options_;
  std::function<void(const std::filesystem::path&)> save_tokenizer_;
  Parts parts_;
};

}  // namespace regard::train
