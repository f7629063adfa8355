// SPDX-License-Identifier: Apache-2.0
// Decoder-only language models: each token sees those before it, and logits say what comes next.
//
// As a SequenceModel such a model continues its source: features() reads source and target one
// after the other and gives what follows each target token; start() reads the source as a prompt.
// A source of no columns, (batch, 0), is none: plain language modelling.
//
//   auto model = regard::nn::open_model<regard::nn::CausalLM>("gpt2");
//   torch::Tensor logits = model->logits(model->hidden_states(tokens).back());
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "regard/nn/rotary.h"
#include "regard/nn/sequence_model.h"

namespace regard::nn {

class CausalLayer;
struct CausalState;

class CausalLM : public SequenceModel {
 public:
  static constexpr const char* kWhat = "a decoder-only language model";
  ~CausalLM() override;

  torch::Tensor features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                         const torch::Tensor& target_in) override;
  torch::Tensor logits(const torch::Tensor& features) override;
  std::optional<std::int64_t> padding_token() const override { return {}; }
  std::vector<torch::Tensor> output_parameters() const override;
  std::unique_ptr<DecodingState> start(const torch::Tensor& source,
                                       const torch::Tensor& source_lengths,
                                       std::int64_t max_length) override;
  // The prompt's last token of each row.
  torch::Tensor first_tokens(const torch::Tensor& source,
                             const torch::Tensor& source_lengths) const override;
  torch::Tensor step(DecodingState& state, const torch::Tensor& tokens) override;
  // Tokens (rows, n), each row's one after the other, as n steps read them, but without logits; in
  // one pass where the rows have read equally many.
  void advance(DecodingState& state, const torch::Tensor& tokens);
  // The same, and the logits of what follows each row's last token, (rows, vocabulary).
  torch::Tensor read(DecodingState& state, const torch::Tensor& tokens);
  // std::logic_error: a decoder-only model has no attention to a source.
  torch::Tensor attention_weights(DecodingState& state) override;
  torch::Tensor alignment(const torch::Tensor& source, const torch::Tensor& source_lengths,
                          const torch::Tensor& target_in) override;

  // tokens (batch, len) -> layers + 1 tensors (batch, len, dim): the embedded tokens, and what each
  // layer gives, the last one normalized, as transformers' `hidden_states` has them.
  std::vector<torch::Tensor> hidden_states(const torch::Tensor& tokens);
  // Documents side by side, for training without padding: tokens (total), document d being tokens
  // starts[d] .. starts[d + 1] - 1, starts (documents + 1), both int64. What logits() reads,
  // (total, dim): as if each document were read alone.
  torch::Tensor packed_features(const torch::Tensor& tokens, const torch::Tensor& starts);
  // The weights of a layer's attention, (batch, heads, len, len), without gradients.
  torch::Tensor attention_map(const torch::Tensor& tokens, std::int64_t layer);
  std::int64_t layers() const { return static_cast<std::int64_t>(layers_.size()); }
  // The longest sequence that it can read; 0: any.
  std::int64_t max_positions() const { return sizes_.max_positions; }
  bool can_recompute_layers() const override { return true; }

 protected:
  struct Sizes {
    std::int64_t vocab = 0, dim = 0, kv_heads = 0, head_dim = 0;
    std::int64_t max_positions = 0;
  };
  // Registers "embedding", "layers" and, where it is not the embedding's, "output_weight".
  void build(const Sizes& sizes, bool tied, std::vector<std::shared_ptr<CausalLayer>> layers);

  // tokens and positions of one shape, (batch or 1, len) -> what the first layer reads.
  virtual torch::Tensor embed(const torch::Tensor& tokens, const torch::Tensor& positions) = 0;
  // By what queries and keys at these positions are turned; empty where positions are embedded.
  virtual RotaryAngles angles(const torch::Tensor& positions) const = 0;
  virtual torch::Tensor normalize(const torch::Tensor& x) = 0;  // after the last layer

  torch::nn::Embedding embedding_{nullptr};

 private:
  torch::Tensor extend(CausalState& state, const torch::Tensor& tokens, std::int64_t wanted);
  void check_next(const CausalState& state, const torch::Tensor& tokens) const;
  void check_positions(const char* argument, std::int64_t length) const;
  // What the last layer gives, normalized. Every layer's input goes into `states` where given.
  torch::Tensor run(const torch::Tensor& tokens, std::vector<torch::Tensor>* states = nullptr);

  Sizes sizes_;
  std::vector<std::shared_ptr<CausalLayer>> layers_;
  torch::Tensor output_weight_;
};

}  // namespace regard::nn
