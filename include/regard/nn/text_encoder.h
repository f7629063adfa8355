// SPDX-License-Identifier: Apache-2.0
// Encoders that read a whole text at once, with a head for a task or without: what BERT
// (regard/nn/bert.h) and Longformer (regard/nn/longformer.h) share.
//
//   auto model = regard::nn::open_model<regard::nn::TextEncoder>("bert-base-uncased");
//   TextInput input{.tokens = tokens, .lengths = lengths};
//   torch::Tensor logits = model->forward(input);       // of its head
//   torch::Tensor hidden = model->encode(input);        // (batch, len, dim)
//   torch::Tensor vectors = model->mean(hidden, input);  // (batch, dim)
//
// Padding costs nothing but its place: texts are computed one behind the other, without it. Rows of
// hidden states and weights at padding are 0.
//
// Errors: std::invalid_argument names the argument, what it is and what was expected.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "regard/nn/model.h"

namespace regard::nn {

struct TextEncoderConfig {
  std::int64_t vocab = 0;
  std::int64_t dim = 768, heads = 12, feed_forward = 3072, layers = 12;
  std::int64_t max_positions = 512;
  std::int64_t segments = 2;  // kinds of segments that have an embedding
  double norm_eps = 1e-12;
  std::string activation = "gelu";
  // "absolute": 0, 1, ... from the row's beginning. "after-pad" (RoBERTa): pad_token + 1, ...
  // for the tokens that are not pad_token, which stay at pad_token; so pad_token + 1 fewer fit.
  std::string positions = "absolute";
  std::int64_t pad_token = 0;
  double dropout = 0.1, attention_dropout = 0.1;
  double head_dropout = -1;  // of what a classifier reads; -1: as `dropout`
  // tanh of a linear layer over the first token. With a head: whether the head reads it.
  bool pooler = true;
  // "none", "masked-lm", "sequence" (one label a text), "tokens" (one a token) or "span" (where an
  // answer begins and ends).
  std::string head = "none";
  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};  // of sequences or tokens
};

// A batch of texts. What is padding is said by `lengths` or by `mask`, or nothing is.
struct TextInput {
  torch::Tensor tokens;    // (batch, len) int64
  torch::Tensor lengths;   // (batch) int64, from 1: the text is at the beginning of its row
  torch::Tensor mask;      // (batch, len), bool or integers: not 0 where there is text
  torch::Tensor segments;  // (batch, len) int64; all 0 where not given
  // Longformer: (batch, len), not 0 where a token is global. Where not given: the first token of
  // each text for a "sequence" head, the tokens before the first separator (the question) for a
  // "span" head, none otherwise.
  torch::Tensor global = {};
};

class EncoderLayer;
class TextHead;
struct Packing;
struct GlobalTokens;
struct LayerReading;

class TextEncoder : public Model {
 public:
  static constexpr const char* kWhat = "a text encoder";
  ~TextEncoder() override;

  // What the last layer gives, (batch, len, dim).
  torch::Tensor encode(const TextInput& input);
  // layers + 1 tensors of that shape: the embedded tokens and what each layer gives.
  std::vector<torch::Tensor> hidden_states(const TextInput& input);

  // Of what encode() gave: tanh(W x + b) of each text's first token, (batch, dim);
  // std::logic_error where the model has no pooler.
  torch::Tensor pooled(const torch::Tensor& hidden, const TextInput& input);
  // The mean over each text's tokens, (batch, dim), as sentence-transformers pools.
  static torch::Tensor mean(const torch::Tensor& hidden, const TextInput& input);
  // The head's logits: "masked-lm" (batch, len, vocab), "sequence" (batch, labels), "tokens"
  // (batch, len, labels), "span" (batch, len, 2). std::logic_error without a head.
  torch::Tensor logits(const torch::Tensor& hidden, const TextInput& input);
  // "masked-lm" of chosen rows alone, (any, dim) -> (any, vocab): most tokens are not masked.
  torch::Tensor word_logits(const torch::Tensor& rows);
  torch::Tensor forward(const TextInput& input);

  // The weights of a layer's attention, (batch, heads, len, len), without gradients.
  torch::Tensor attention_map(const TextInput& input, std::int64_t layer);

  const TextEncoderConfig& text_config() const { return text_; }
  std::int64_t layers() const { return static_cast<std::int64_t>(layers_.size()); }
  // The longest text that it can read.
  std::int64_t max_length() const;
  bool can_recompute_layers() const override { return true; }

 protected:
  // `first_token_head` (RoBERTa): a "sequence" head has a dense layer of its own and needs no
  // pooler.
  void build(const TextEncoderConfig& config, bool first_token_head,
             std::vector<std::shared_ptr<EncoderLayer>> layers);
  // What a layer's attention sees, by `packing`; called for each layer in order.
  virtual void prepare(std::size_t layer, LayerReading& reading) const = 0;
  // The global tokens, bool (batch, len), or undefined.
  virtual torch::Tensor global_mask(const TextInput& input) const;

 private:
  torch::Tensor embed(const TextInput& input, const Packing& packing);
  torch::Tensor run(const TextInput& input, std::vector<torch::Tensor>* states);

  TextEncoderConfig text_;
  torch::nn::Embedding embedding_{nullptr}, positions_{nullptr}, segments_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear pooler_{nullptr};
  std::vector<std::shared_ptr<EncoderLayer>> layers_;
  std::shared_ptr<TextHead> head_;
};

}  // namespace regard::nn
