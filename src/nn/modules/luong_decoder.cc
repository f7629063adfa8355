// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "nn/steps/cells.h"
#include "regard/nn/decoder_rnn.h"

namespace regard::nn {
namespace {

// The states of both directions side by side: (layers * 2, batch, dim) -> (layers, batch, 2 dim).
torch::Tensor side_by_side(const torch::Tensor& states, std::int64_t layers) {
  if (!states.defined() || states.size(0) == layers) return states;
  return states.unflatten(0, {layers, 2}).transpose(1, 2).flatten(2).contiguous();
}

}  // namespace

LuongDecoderImpl::LuongDecoderImpl(const DecoderOptions& options, const LuongOptions& attention,
                                   bool input_feeding)
    : options_(options), input_feeding_(input_feeding) {
  RecurrentOptions& recurrent = options_.recurrent;
  recurrent.input = options.embedding + (input_feeding ? recurrent.hidden : 0);
  recurrent_ = register_module("recurrent", Recurrent(recurrent));
  LuongOptions dims = attention;
  dims.query_dim = recurrent.hidden;
  dims.source_dim = options.annotation;
  attention_ = register_module("attention", LuongAttention(dims));
  dropout_ = register_module("dropout", torch::nn::Dropout(options.dropout));
}

DecoderState LuongDecoderImpl::begin(const EncodedSource& source) {
  const RecurrentOptions& recurrent = options_.recurrent;
  DecoderState state;
  state.rnn = {side_by_side(source.last.hidden, recurrent.layers),
               side_by_side(source.last.cell, recurrent.layers)};
  if (state.rnn.hidden.size(0) != recurrent.layers || state.rnn.hidden.size(2) != recurrent.hidden)
    throw std::invalid_argument(
        "source: a state of " + std::to_string(state.rnn.hidden.size(0)) + " layers of " +
        std::to_string(state.rnn.hidden.size(2)) + "; the decoder begins with it and has " +
        std::to_string(recurrent.layers) + " of " + std::to_string(recurrent.hidden));
  if (input_feeding_)
    state.feed =
        torch::zeros({source.annotations.size(0), recurrent.hidden}, source.annotations.options());
  state.memory = attention_->memory(source.annotations, source.lengths);
  return state;
}

torch::Tensor LuongDecoderImpl::step(DecoderState& state, const torch::Tensor& embedded) {
  const torch::Tensor input = input_feeding_ ? torch::cat({embedded, state.feed}, -1) : embedded;
  state.rnn = recurrent_->step(input, state.rnn);
  state.query = state.rnn.top();
  const torch::Tensor queries = state.query.reshape({-1, state.width, state.query.size(-1)});
  const torch::Tensor attended =
      attention_->forward(queries, state.memory, state.position, /*side_by_side=*/true);
  const torch::Tensor feature = dropout_->forward(attended.reshape({-1, attended.size(-1)}));
  if (input_feeding_) state.feed = feature;
  ++state.position;
  return feature;
}

torch::Tensor LuongDecoderImpl::features(const EncodedSource& source,
                                         const torch::Tensor& embedded) {
  DecoderState state = begin(source);
  if (!input_feeding_) {
    const torch::Tensor queries = recurrent_->forward(embedded, {}, state.rnn).first;
    return dropout_->forward(attention_->forward(queries, state.memory));
  }
  const Cells cells(recurrent_, options_.embedding);
  CellStates states(state.rnn);
  std::vector<torch::Tensor> features;
  for (const torch::Tensor& prepared : cells.prepare(embedded.transpose(0, 1))) {
    cells.step(prepared, state.feed, states);
    const torch::Tensor attended =
        attention_->forward(states.top().unsqueeze(1), state.memory, state.position++,
                            /*side_by_side=*/true);
    state.feed = dropout_->forward(attended.squeeze(1));
    features.push_back(state.feed);
  }
  return torch::stack(features, 1);
}

torch::Tensor LuongDecoderImpl::weights(const DecoderState& state) {
  if (!state.query.defined()) throw std::logic_error("attention_weights: no step was taken yet");
  const torch::Tensor queries = state.query.reshape({-1, state.width, state.query.size(-1)});
  const torch::Tensor found =
      attention_->weights(queries, state.memory, state.position - 1, /*side_by_side=*/true);
  return found.reshape({-1, found.size(-1)});
}

}  // namespace regard::nn
