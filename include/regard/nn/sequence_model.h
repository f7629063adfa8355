// SPDX-License-Identifier: Apache-2.0
// What every sequence model offers to training and decoding: logits of whole target sequences, and
// of one target position after the other.
//
//   auto model = regard::nn::make_model({{"kind", "seq2seq"}, {"source_vocab", 8000}, ...});
//   torch::Tensor logits = model->forward(batch.source, batch.source_lengths, batch.target_in);
//
//   auto state = model->start(source, source_lengths, 100);      // translate greedily
//   torch::Tensor tokens = model->first_tokens(source, source_lengths);
//   for (int i = 0; i < 100; ++i) tokens = model->step(*state, tokens).argmax(-1);
//
// Tokens are int64. A model is its config (JSON) and its parameters: see regard/nn/checkpoint.h.
// Errors: std::invalid_argument names the argument, what it is and what was expected.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "regard/nn/model.h"

namespace regard::nn {

// The tokens that every vocabulary has.
inline constexpr std::int64_t kPad = 0, kUnknown = 1, kBegin = 2, kEnd = 3;

struct Batch {
  torch::Tensor source;          // (batch, source_len), padded at the end with kPad
  torch::Tensor source_lengths;  // (batch), from 1
  torch::Tensor target_in;       // (batch, target_len), starts with kBegin, padded
  torch::Tensor target_out;      // (batch, target_len), ends with kEnd, padded
  // (batch), from 0: how many tokens of each target count in a loss. Not given: all but the model's
  // padding_token().
  torch::Tensor target_lengths = {};
};

// Where a batch of decoders stands: what has been read of the source, and caches of what has been
// decoded, allocated once. Row r of a state is one hypothesis.
class DecodingState {
 public:
  DecodingState() = default;
  DecodingState(const DecodingState&) = delete;
  DecodingState& operator=(const DecodingState&) = delete;
  virtual ~DecodingState() = default;

  virtual std::int64_t rows() const = 0;
  // Steps taken so far, the prompt of a decoder-only model included.
  virtual std::int64_t position() const = 0;
  // Row i becomes what row rows[i] was: int64 (any number), 0 <= rows[i] < rows(). Rows may come
  // twice (beams) or not at all (finished). Cheapest where hypotheses of one source stay side by
  // side and equally many of each: what was read of the source is then not repeated.
  virtual void reorder(const torch::Tensor& rows) = 0;
};

class SequenceModel : public Model {
 public:
  static constexpr const char* kWhat = "a model of sequences";

  // Teacher forcing. features are what the output layer reads, (batch, target_len, any dim); the
  // logits of features (..., dim) are (..., target vocabulary). Where source_lengths say so, a
  // source's padding changes nothing.
  virtual torch::Tensor features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                                 const torch::Tensor& target_in) = 0;
  virtual torch::Tensor logits(const torch::Tensor& features) = 0;
  // The token that stands for nothing; none where every number of the vocabulary is a word.
  virtual std::optional<std::int64_t> padding_token() const { return kPad; }
  // The parameters that logits() reads.
  virtual std::vector<torch::Tensor> output_parameters() const = 0;
  // logits(features(...)): (batch, target_len, vocabulary).
  virtual torch::Tensor forward(const torch::Tensor& source, const torch::Tensor& source_lengths,
                                const torch::Tensor& target_in);

  // Incremental decoding, one row for each source; at most max_length steps. Gradients are not
  // recorded. A decoder-only model reads the source as its prompt, all but the last token.
  virtual std::unique_ptr<DecodingState> start(const torch::Tensor& source,
                                               const torch::Tensor& source_lengths,
                                               std::int64_t max_length) = 0;
  // What the first step takes, (rows): kBegin, unless a model says otherwise (a decoder-only one
  // continues with its prompt's last token).
  virtual torch::Tensor first_tokens(const torch::Tensor& source,
                                     const torch::Tensor& source_lengths) const;
  // tokens (rows) -> logits of what follows, (rows, vocabulary). A step costs the keys that it
  // reads, not the prefix again.
  virtual torch::Tensor step(DecodingState& state, const torch::Tensor& tokens) = 0;

  // How much the last step looked at each source position, (rows, heads, source_len): each row of a
  // head adds up to 1 (local-p: to what its Gaussian leaves). Computed when asked for.
  // std::logic_error where the model has no attention to its source, or no step was taken.
  virtual torch::Tensor attention_weights(DecodingState& state) = 0;
  // The same for whole targets under teacher forcing: (batch, heads, target_len, source_len).
  virtual torch::Tensor alignment(const torch::Tensor& source, const torch::Tensor& source_lengths,
                                  const torch::Tensor& target_in) = 0;
};

// build_model() of a kind that is a model of sequences; std::invalid_argument for the others.
std::shared_ptr<SequenceModel> make_model(const nlohmann::json& config);

}  // namespace regard::nn
