// SPDX-License-Identifier: Apache-2.0
// Recurrent networks over libtorch's own cells: torch::nn::RNN (tanh), GRU and LSTM, whole
// sequences at once or a step at a time with the same parameters.
//
// libtorch's GRU multiplies the reset gate after the product with the state (as cuDNN does), where
// Cho et al. 2014 (arXiv 1406.1078) multiply before it.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>

namespace regard::nn {

enum class Cell { kRnn, kGru, kLstm };

// hidden (layers * directions, batch, dim); cell the same for an LSTM, undefined for the others.
struct RecurrentState {
  torch::Tensor hidden, cell;

  // The batch entries that `rows` (int64) names, in its order.
  RecurrentState select(const torch::Tensor& rows) const;
  // The last layer's hidden, (batch, dim), of a network with one direction.
  torch::Tensor top() const { return hidden.select(0, -1); }
};

struct RecurrentOptions {
  Cell cell = Cell::kGru;
  std::int64_t input = 0, hidden = 0, layers = 1;
  bool bidirectional = false;
  double dropout = 0;  // between layers
};

class RecurrentImpl : public torch::nn::Module {
 public:
  explicit RecurrentImpl(const RecurrentOptions& options);

  // input (batch, len, input) -> (batch, len, directions * hidden) and the state after each row's
  // last position. With lengths (batch, int64, from 1), a row ends there: what follows is neither
  // read nor counted, and gives 0. An initial state that is not given is 0.
  std::pair<torch::Tensor, RecurrentState> forward(const torch::Tensor& input,
                                                   const torch::Tensor& lengths = {},
                                                   const RecurrentState& initial = {});
  // One step of a network with one direction: input (batch, input) -> the next state.
  RecurrentState step(const torch::Tensor& input, const RecurrentState& state);

  RecurrentState zeros(std::int64_t batch) const;
  // libtorch's names and order: weight_ih, weight_hh, bias_ih, bias_hh of each layer (and
  // direction).
  std::vector<torch::Tensor> weights() const;
  const RecurrentOptions& options() const { return options_; }

 private:
  RecurrentOptions options_;
  torch::nn::RNN rnn_{nullptr};
  torch::nn::GRU gru_{nullptr};
  torch::nn::LSTM lstm_{nullptr};
};
TORCH_MODULE(Recurrent);

// What a decoder reads of a source.
struct EncodedSource {
  torch::Tensor annotations;  // (batch, source_len, dim), 0 past a row's length
  torch::Tensor lengths;      // (batch)
  RecurrentState last;
};

// Embedding and a recurrent network, usually in both directions (Bahdanau et al. 2014).
class EncoderRNNImpl : public torch::nn::Module {
 public:
  // options.input is the embedding's dim; dropout also applies to the embedded tokens.
  EncoderRNNImpl(std::int64_t vocabulary, const RecurrentOptions& options);
  // tokens (batch, source_len) int64, lengths (batch).
  EncodedSource forward(const torch::Tensor& tokens, const torch::Tensor& lengths);
  std::int64_t annotation_dim() const;

 private:
  torch::nn::Embedding embedding_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
  Recurrent recurrent_{nullptr};
};
TORCH_MODULE(EncoderRNN);

}  // namespace regard::nn
