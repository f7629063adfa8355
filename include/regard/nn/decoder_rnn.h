// SPDX-License-Identifier: Apache-2.0
// Recurrent decoders that look at a source: Bahdanau's and Luong's, whole targets under teacher
// forcing or a step at a time with the same parameters.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "regard/nn/additive_attention.h"
#include "regard/nn/luong_attention.h"
#include "regard/nn/memory.h"
#include "regard/nn/rnn.h"

namespace regard::nn {

// Where decoders stand. Rows of a source lie side by side, `width` of them, so that its memory is
// there once: rnn and feed have batch * width rows, memory has batch.
struct DecoderState {
  RecurrentState rnn;
  torch::Tensor feed;     // Luong: the last attentional vector, (rows, hidden)
  torch::Tensor query;    // of the last step, (rows, hidden); undefined before the first
  torch::Tensor summary;  // fixed vector: (batch, annotation_dim)
  AttentionMemory memory;
  std::int64_t width = 1, position = 0;
};

class DecoderRNNImpl : public torch::nn::Module {
 public:
  virtual DecoderState begin(const EncodedSource& source) = 0;
  // embedded (rows, embedding) -> the features of what follows, (rows, feature_dim).
  virtual torch::Tensor step(DecoderState& state, const torch::Tensor& embedded) = 0;
  // embedded (batch, target_len, embedding) -> (batch, target_len, feature_dim).
  virtual torch::Tensor features(const EncodedSource& source, const torch::Tensor& embedded) = 0;
  // The weights of the last step, (rows, source_len). std::logic_error without attention or step.
  virtual torch::Tensor weights(const DecoderState& state) = 0;
  virtual std::int64_t feature_dim() const = 0;
};

struct DecoderOptions {
  std::int64_t embedding = 0, annotation = 0;  // dims of a target embedding and of an annotation
  RecurrentOptions recurrent;                  // its input is set by the decoder
  double dropout = 0;                          // of the features
};

// Bahdanau et al. 2014 (arXiv 1409.0473), appendix A, with libtorch's cells:
//
//   s_0 = tanh(W_s h_1), of the encoder's backward state      c_i = attention(s_{i-1}, annotations)
//   s_i = cell([y_{i-1}; c_i], s_{i-1})                       (an LSTM's cell begins with 0)
//   features t_i = maxout(U s_{i-1} + V y_{i-1} + C c_i), the larger of each pair
//
// Without attention it is the fixed vector (Cho et al. 2014, arXiv 1406.1078): every c_i is the
// encoder's last state (both directions).
class BahdanauDecoderImpl : public DecoderRNNImpl {
 public:
  // attention_dim 0: the fixed vector. maxout: the features' dim.
  BahdanauDecoderImpl(const DecoderOptions& options, std::int64_t encoder_hidden,
                      std::int64_t attention_dim, std::int64_t maxout);
  DecoderState begin(const EncodedSource& source) override;
  torch::Tensor step(DecoderState& state, const torch::Tensor& embedded) override;
  torch::Tensor features(const EncodedSource& source, const torch::Tensor& embedded) override;
  torch::Tensor weights(const DecoderState& state) override;
  std::int64_t feature_dim() const override { return maxout_; }

 private:
  torch::Tensor context(const DecoderState& state, const torch::Tensor& query);
  torch::Tensor deep_output(const torch::Tensor& previous, const torch::Tensor& embedded,
                            const torch::Tensor& context);

  DecoderOptions options_;
  std::int64_t maxout_;
  torch::nn::Linear initial_{nullptr};
  AdditiveAttention attention_{nullptr};
  Recurrent recurrent_{nullptr};
  torch::nn::Linear from_state_{nullptr}, from_embedding_{nullptr}, from_context_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
};
TORCH_MODULE(BahdanauDecoder);

// Luong et al. 2015 (arXiv 1508.04025): a stack of cells that begins with the encoder's last
// states; features are the attentional vectors. With input feeding the last of them joins the
// input, and targets are read a step at a time; without, the attention of a whole target is one
// call.
class LuongDecoderImpl : public DecoderRNNImpl {
 public:
  // attention: its dims are set by the decoder.
  LuongDecoderImpl(const DecoderOptions& options, const LuongOptions& attention,
                   bool input_feeding);
  DecoderState begin(const EncodedSource& source) override;
  torch::Tensor step(DecoderState& state, const torch::Tensor& embedded) override;
  torch::Tensor features(const EncodedSource& source, const torch::Tensor& embedded) override;
  torch::Tensor weights(const DecoderState& state) override;
  std::int64_t feature_dim() const override { return options_.recurrent.hidden; }

 private:
  DecoderOptions options_;
  bool input_feeding_;
  Recurrent recurrent_{nullptr};
  LuongAttention attention_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
};
TORCH_MODULE(LuongDecoder);

}  // namespace regard::nn
