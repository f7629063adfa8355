// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/rnn.h"

#include <stdexcept>

#include "nn/steps/sequences.h"
#include "regard/nn/sequence_model.h"

namespace regard::nn {
namespace {

namespace rnn_utils = torch::nn::utils::rnn;

template <typename Options>
Options library_options(const RecurrentOptions& options) {
  return Options(options.input, options.hidden)
      .num_layers(options.layers)
      .bidirectional(options.bidirectional)
      .dropout(options.layers > 1 ? options.dropout : 0)
      .batch_first(true);
}

}  // namespace

RecurrentState RecurrentState::select(const torch::Tensor& rows) const {
  return {hidden.index_select(1, rows), cell.defined() ? cell.index_select(1, rows) : cell};
}

RecurrentImpl::RecurrentImpl(const RecurrentOptions& options) : options_(options) {
  if (options.input < 1 || options.hidden < 1 || options.layers < 1)
    throw std::invalid_argument("Recurrent: input, hidden and layers are " +
                                std::to_string(options.input) + ", " +
                                std::to_string(options.hidden) + " and " +
                                std::to_string(options.layers) + "; expected at least 1 each");
  switch (options.cell) {
    case Cell::kRnn:
      rnn_ =
          register_module("rnn", torch::nn::RNN(library_options<torch::nn::RNNOptions>(options)));
      break;
    case Cell::kGru:
      gru_ =
          register_module("rnn", torch::nn::GRU(library_options<torch::nn::GRUOptions>(options)));
      break;
    case Cell::kLstm:
      lstm_ =
          register_module("rnn", torch::nn::LSTM(library_options<torch::nn::LSTMOptions>(options)));
      break;
  }
}

std::vector<torch::Tensor> RecurrentImpl::weights() const {
  return rnn_ ? rnn_->all_weights() : gru_ ? gru_->all_weights() : lstm_->all_weights();
}

RecurrentState RecurrentImpl::zeros(std::int64_t batch) const {
  const std::int64_t layers = options_.layers * (options_.bidirectional ? 2 : 1);
  const torch::Tensor zero =
      torch::zeros({layers, batch, options_.hidden}, weights().front().options());
  return {zero, options_.cell == Cell::kLstm ? zero : torch::Tensor()};
}

std::pair<torch::Tensor, RecurrentState> RecurrentImpl::forward(const torch::Tensor& input,
                                                                const torch::Tensor& lengths,
                                                                const RecurrentState& initial) {
  const RecurrentState from = initial.hidden.defined() ? initial : zeros(input.size(0));
  if (torch::GradMode::is_enabled() && weights().front().requires_grad())
    return through_steps(*this, input, lengths, from);
  const bool packs = lengths.defined() && lengths.lt(input.size(1)).any().item<bool>();
  if (!packs) {
    if (lstm_) {
      const auto [out, state] = lstm_->forward(input, std::tuple(from.hidden, from.cell));
      return {out, {std::get<0>(state), std::get<1>(state)}};
    }
    const auto [out, hidden] =
        gru_ ? gru_->forward(input, from.hidden) : rnn_->forward(input, from.hidden);
    return {out, {hidden, {}}};
  }
  const auto packed = rnn_utils::pack_padded_sequence(input, lengths.to(torch::kInt64),
                                                      /*batch_first=*/true,
                                                      /*enforce_sorted=*/false);
  const auto whole = [&](const rnn_utils::PackedSequence& out) {
    return std::get<0>(rnn_utils::pad_packed_sequence(out, /*batch_first=*/true,
                                                      /*padding_value=*/0, input.size(1)));
  };
  if (lstm_) {
    const auto [out, state] =
        lstm_->forward_with_packed_input(packed, std::tuple(from.hidden, from.cell));
    return {whole(out), {std::get<0>(state), std::get<1>(state)}};
  }
  const auto [out, hidden] = gru_ ? gru_->forward_with_packed_input(packed, from.hidden)
                                  : rnn_->forward_with_packed_input(packed, from.hidden);
  return {whole(out), {hidden, {}}};
}

RecurrentState RecurrentImpl::step(const torch::Tensor& input, const RecurrentState& state) {
  const std::vector<torch::Tensor> w = weights();  // (input, hidden, two biases) of each layer
  std::vector<torch::Tensor> hidden, cell;
  torch::Tensor x = input;
  for (std::int64_t layer = 0; layer < options_.layers; ++layer) {
    const auto at = static_cast<std::size_t>(4 * layer);
    const torch::Tensor h = state.hidden.select(0, layer);
    if (layer > 0 && options_.dropout > 0) x = torch::dropout(x, options_.dropout, is_training());
    if (lstm_) {
      const auto [h_next, c_next] = torch::lstm_cell(x, {h, state.cell.select(0, layer)}, w[at],
                                                     w[at + 1], w[at + 2], w[at + 3]);
      cell.push_back(c_next);
      x = h_next;
    } else if (gru_) {
      x = torch::gru_cell(x, h, w[at], w[at + 1], w[at + 2], w[at + 3]);
    } else {
      x = torch::rnn_tanh_cell(x, h, w[at], w[at + 1], w[at + 2], w[at + 3]);
    }
    hidden.push_back(x);
  }
  const auto joined = [](const std::vector<torch::Tensor>& layers) {
    return layers.size() == 1 ? layers[0].unsqueeze(0) : torch::stack(layers);
  };
  return {joined(hidden), cell.empty() ? torch::Tensor() : joined(cell)};
}

EncoderRNNImpl::EncoderRNNImpl(std::int64_t vocabulary, const RecurrentOptions& options) {
  embedding_ = register_module(
      "embedding", torch::nn::Embedding(torch::nn::EmbeddingOptions(vocabulary, options.input)));
  dropout_ = register_module("dropout", torch::nn::Dropout(options.dropout));
  recurrent_ = register_module("recurrent", Recurrent(options));
}

EncodedSource EncoderRNNImpl::forward(const torch::Tensor& tokens, const torch::Tensor& lengths) {
  auto [annotations, last] =
      recurrent_->forward(dropout_->forward(embedding_->forward(tokens)), lengths);
  return {annotations, lengths, last};
}

std::int64_t EncoderRNNImpl::annotation_dim() const {
  const RecurrentOptions& options = recurrent_->options();
  return options.hidden * (options.bidirectional ? 2 : 1);
}

}  // namespace regard::nn
