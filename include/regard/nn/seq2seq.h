// SPDX-License-Identifier: Apache-2.0
// Recurrent sequence-to-sequence models: one class, the attention chosen by a value.
//
//   fixed     one vector for the whole source (Cho et al. 2014, arXiv 1406.1078)
//   bahdanau  additive attention with deep output (Bahdanau et al. 2014, arXiv 1409.0473)
//   dot, general, concat, location   Luong et al. 2015 (arXiv 1508.04025), each global, local-m or
//             local-p, with or without input feeding
//
// As JSON ({"kind": "seq2seq", ...}) the config's keys are the names of Seq2SeqConfig's fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "regard/nn/decoder_rnn.h"
#include "regard/nn/sequence_model.h"

namespace regard::nn {

struct Seq2SeqConfig {
  std::int64_t source_vocab = 0, target_vocab = 0;
  std::string attention = "bahdanau";
  std::string reach = "global";  // Luong: "global", "local-m" or "local-p"
  std::int64_t window = 10;      // of local reach: positions to each side
  bool input_feeding = true;     // Luong
  std::int64_t positions = 256;  // location: the longest source

  std::string cell = "gru";  // "gru", "lstm" or "rnn"
  std::int64_t layers = 1;
  std::int64_t embedding = 256;
  std::int64_t hidden = 512;         // of the decoder; Luong: also of an annotation
  bool bidirectional = true;         // the encoder
  std::int64_t attention_dim = 512;  // bahdanau: of the layer inside the score
  std::int64_t maxout = 256;         // fixed and bahdanau: of the deep output
  double dropout = 0.2;
};

class Seq2Seq : public SequenceModel {
 public:
  explicit Seq2Seq(const Seq2SeqConfig& config);

  std::string kind() const override { return "seq2seq"; }
  nlohmann::json config() const override;
  torch::Tensor features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                         const torch::Tensor& target_in) override;
  torch::Tensor logits(const torch::Tensor& features) override;
  std::vector<torch::Tensor> output_parameters() const override;
  std::unique_ptr<DecodingState> start(const torch::Tensor& source,
                                       const torch::Tensor& source_lengths,
                                       std::int64_t max_length) override;
  torch::Tensor step(DecodingState& state, const torch::Tensor& tokens) override;
  torch::Tensor attention_weights(DecodingState& state) override;
  torch::Tensor alignment(const torch::Tensor& source, const torch::Tensor& source_lengths,
                          const torch::Tensor& target_in) override;

 private:
  torch::Tensor embed(const torch::Tensor& tokens);

  Seq2SeqConfig config_;
  EncoderRNN encoder_{nullptr};
  torch::nn::Embedding embedding_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
  std::shared_ptr<DecoderRNNImpl> decoder_;
  torch::nn::Linear output_{nullptr};
};

}  // namespace regard::nn
