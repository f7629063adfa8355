// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "nn/steps/cells.h"
#include "regard/nn/decoder_rnn.h"

namespace regard::nn {
namespace {

// (rows, dim) as (batch, width, dim) and back: hypotheses of one source beside each other.
torch::Tensor by_source(const torch::Tensor& rows, std::int64_t width) {
  return rows.reshape({-1, width, rows.size(-1)});
}
torch::Tensor by_row(const torch::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

}  // namespace

BahdanauDecoderImpl::BahdanauDecoderImpl(const DecoderOptions& options, std::int64_t encoder_hidden,
                                         std::int64_t attention_dim, std::int64_t maxout)
    : options_(options), maxout_(maxout) {
  RecurrentOptions& recurrent = options_.recurrent;
  recurrent.input = options.embedding + options.annotation;
  const auto linear = [](std::int64_t from, std::int64_t to, bool bias) {
    return torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(bias));
  };
  initial_ = register_module(
      "initial", linear(encoder_hidden, recurrent.layers * recurrent.hidden, /*bias=*/true));
  if (attention_dim > 0)
    attention_ = register_module(
        "attention", AdditiveAttention(recurrent.hidden, options.annotation, attention_dim));
  recurrent_ = register_module("recurrent", Recurrent(recurrent));
  from_state_ = register_module("from_state", linear(recurrent.hidden, 2 * maxout, true));
  from_embedding_ = register_module("from_embedding", linear(options.embedding, 2 * maxout, false));
  from_context_ = register_module("from_context", linear(options.annotation, 2 * maxout, false));
  dropout_ = register_module("dropout", torch::nn::Dropout(options.dropout));
}

DecoderState BahdanauDecoderImpl::begin(const EncodedSource& source) {
  DecoderState state;
  // The last layer's backward state, which has read the whole source down to its first word; of an
  // encoder with one direction the forward state.
  const torch::Tensor& last = source.last.hidden;
  const torch::Tensor first =
      torch::tanh(initial_->forward(last.select(0, -1)))
          .reshape({-1, options_.recurrent.layers, options_.recurrent.hidden})
          .transpose(0, 1)
          .contiguous();
  state.rnn = {first,
               options_.recurrent.cell == Cell::kLstm ? torch::zeros_like(first) : torch::Tensor()};
  if (attention_) {
    state.memory = attention_->memory(source.annotations, source.lengths);
  } else {
    const std::int64_t directions = source.annotations.size(-1) / last.size(-1);
    state.summary = directions == 1 ? last.select(0, -1)
                                    : torch::cat({last.select(0, -2), last.select(0, -1)}, -1);
  }
  return state;
}

torch::Tensor BahdanauDecoderImpl::context(const DecoderState& state, const torch::Tensor& query) {
  if (attention_) return by_row(attention_->forward(by_source(query, state.width), state.memory));
  return state.width == 1 ? state.summary : state.summary.repeat_interleave(state.width, 0);
}

torch::Tensor BahdanauDecoderImpl::deep_output(const torch::Tensor& previous,
                                               const torch::Tensor& embedded,
                                               const torch::Tensor& context) {
  const torch::Tensor pairs = from_state_->forward(previous) + from_embedding_->forward(embedded) +
                              from_context_->forward(context);
  return dropout_->forward(std::get<0>(pairs.unflatten(-1, {maxout_, 2}).max(-1)));
}

torch::Tensor BahdanauDecoderImpl::step(DecoderState& state, const torch::Tensor& embedded) {
  state.query = state.rnn.top();
  const torch::Tensor c = context(state, state.query);
  state.rnn = recurrent_->step(torch::cat({embedded, c}, -1), state.rnn);
  ++state.position;
  return deep_output(state.query, embedded, c);
}

torch::Tensor BahdanauDecoderImpl::features(const EncodedSource& source,
                                            const torch::Tensor& embedded) {
  const DecoderState state = begin(source);
  const Cells cells(recurrent_, options_.embedding);
  CellStates states(state.rnn);
  std::vector<torch::Tensor> queries, contexts;
  for (const torch::Tensor& prepared : cells.prepare(embedded.transpose(0, 1))) {
    queries.push_back(states.top());
    contexts.push_back(context(state, states.top()));
    cells.step(prepared, contexts.back(), states);
  }
  return deep_output(torch::stack(queries, 1), embedded, torch::stack(contexts, 1));
}

torch::Tensor BahdanauDecoderImpl::weights(const DecoderState& state) {
  if (!attention_)
    throw std::logic_error("attention_weights: a fixed vector has no attention to its source");
  if (!state.query.defined()) throw std::logic_error("attention_weights: no step was taken yet");
  return by_row(attention_->weights(by_source(state.query, state.width), state.memory));
}

}  // namespace regard::nn
