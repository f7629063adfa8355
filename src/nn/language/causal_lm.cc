// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/causal_lm.h"

#include <algorithm>
#include <stdexcept>

#include "nn/language/causal_layer.h"
#include "nn/models/check_tokens.h"

namespace regard::nn {
// Keys and values of every layer, with room for the prompt and the steps; row r has read
// lengths[r] tokens.
struct CausalState final : DecodingState {
  std::int64_t rows() const override { return lengths.size(0); }
  std::int64_t position() const override { return longest; }
  void reorder(const torch::Tensor& rows) override {
    torch::NoGradGuard no_grad;
    for (KeyValueCache& cache : caches) cache.reorder(rows);
    lengths = lengths.index_select(0, rows);
  }

  std::vector<KeyValueCache> caches;  // their `length` is the longest row's
  torch::Tensor lengths;
  std::int64_t longest = 0;
};

namespace {

CausalState& causal_state(DecodingState& state) {
  auto* mine = dynamic_cast<CausalState*>(&state);
  if (mine == nullptr) throw std::invalid_argument("state: of another kind of model");
  return *mine;
}

// Rows of source, each cut at its length, with the target's behind it, and where targets begin.
torch::Tensor joined(const torch::Tensor& source, const torch::Tensor& lengths,
                     const torch::Tensor& target) {
  torch::Tensor all =
      torch::full({source.size(0), source.size(1) + target.size(1)}, kPad, torch::kInt64);
  all.narrow(1, 0, source.size(1)).copy_(source);
  const torch::Tensor places =
      lengths.unsqueeze(1) + torch::arange(target.size(1), torch::kInt64).unsqueeze(0);
  return all.scatter_(1, places, target);
}

bool is_empty(const torch::Tensor& source) { return source.dim() == 2 && source.size(1) == 0; }

torch::Tensor first_positions(std::int64_t count) {
  return torch::arange(count, torch::kInt64).unsqueeze(0);
}

[[noreturn]] void no_source(const std::string& kind) {
  throw std::logic_error(kind + ": a decoder-only model has no attention to a source");
}

}  // namespace

CausalLM::~CausalLM() = default;

void CausalLM::build(const Sizes& sizes, bool tied,
                     std::vector<std::shared_ptr<CausalLayer>> layers) {
  sizes_ = sizes;
  layers_ = std::move(layers);
  embedding_ = register_module("embedding", torch::nn::Embedding(sizes.vocab, sizes.dim));
  torch::nn::init::normal_(embedding_->weight, 0, 0.02);
  torch::nn::ModuleList list;
  for (const auto& layer : layers_) list->push_back(layer);
  register_module("layers", list);
  output_weight_ = embedding_->weight;
  if (tied) return;
  output_weight_ = register_parameter("output_weight", torch::empty({sizes.vocab, sizes.dim}));
  torch::nn::init::normal_(output_weight_, 0, 0.02);
}

torch::Tensor CausalLM::logits(const torch::Tensor& features) {
  return torch::linear(features, output_parameters()[0]);
}

std::vector<torch::Tensor> CausalLM::output_parameters() const {
  return {output_weight_.defined() ? output_weight_ : embedding_->weight};
}

void CausalLM::check_positions(const char* argument, std::int64_t length) const {
  if (sizes_.max_positions == 0 || length <= sizes_.max_positions) return;
  throw std::invalid_argument(std::string(argument) + ": " + std::to_string(length) +
                              " tokens; the model has " + std::to_string(sizes_.max_positions) +
                              " positions");
}

torch::Tensor CausalLM::run(const torch::Tensor& tokens, std::vector<torch::Tensor>* states) {
  const torch::Tensor positions = first_positions(tokens.size(1));
  const RotaryAngles turned = angles(positions);
  torch::Tensor x = embed(tokens, positions);
  for (const auto& layer : layers_) {
    if (states != nullptr) states->push_back(x);
    x = run_layer(*layer, x,
                  [layer, turned](const torch::Tensor& y) { return layer->forward(y, turned); });
  }
  return normalize(x);
}

std::vector<torch::Tensor> CausalLM::hidden_states(const torch::Tensor& tokens) {
  check_tokens("tokens", tokens, sizes_.vocab);
  check_positions("tokens", tokens.size(1));
  std::vector<torch::Tensor> states;
  torch::Tensor last = run(tokens, &states);
  states.push_back(std::move(last));
  return states;
}

torch::Tensor CausalLM::packed_features(const torch::Tensor& tokens, const torch::Tensor& starts) {
  check_tokens("tokens", tokens.unsqueeze(0), sizes_.vocab);
  if (starts.dim() != 1 || starts.size(0) < 2 || starts.scalar_type() != torch::kInt64 ||
      starts[0].item<std::int64_t>() != 0 || starts[-1].item<std::int64_t>() != tokens.size(0))
    throw std::invalid_argument(
        "starts: expected (documents + 1) int64 from 0 to the number of tokens");
  const torch::Tensor lengths = starts.diff();
  if (lengths.min().item<std::int64_t>() < 1)
    throw std::invalid_argument("starts: expected documents of at least one token");
  check_positions("starts", lengths.max().item<std::int64_t>());
  const torch::Tensor positions = (torch::arange(tokens.size(0), torch::kInt64) -
                                   starts.narrow(0, 0, lengths.size(0)).repeat_interleave(lengths))
                                      .unsqueeze(0);
  const RotaryAngles turned = angles(positions);
  const Mask mask = causal() & documents(starts, starts);
  torch::Tensor x = embed(tokens.unsqueeze(0), positions);
  for (const auto& layer : layers_)
    x = run_layer(*layer, x, [layer, turned, mask](const torch::Tensor& y) {
      return layer->packed(y, turned, mask);
    });
  return normalize(x).squeeze(0);
}

torch::Tensor CausalLM::attention_map(const torch::Tensor& tokens, std::int64_t layer) {
  torch::NoGradGuard no_grad;
  if (layer < 0 || layer >= layers())
    throw std::invalid_argument("layer: " + std::to_string(layer) + "; the model has " +
                                std::to_string(layers()));
  const torch::Tensor x = hidden_states(tokens)[layer];
  return layers_[layer]->weights(x, angles(first_positions(tokens.size(1))));
}

torch::Tensor CausalLM::features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                                 const torch::Tensor& target_in) {
  if (is_empty(source)) {
    check_target(target_in, source.size(0), sizes_.vocab);
    check_positions("target_in", target_in.size(1));
    return run(target_in);
  }
  check_source(source, source_lengths, sizes_.vocab);
  check_target(target_in, source.size(0), sizes_.vocab);
  const std::int64_t longest = source_lengths.max().item<std::int64_t>();
  check_positions("source and target_in", longest + target_in.size(1));
  const torch::Tensor all = run(joined(source.narrow(1, 0, longest), source_lengths, target_in));
  const torch::Tensor places =
      (source_lengths.unsqueeze(1) + first_positions(target_in.size(1))).unsqueeze(-1);
  return all.gather(1, places.expand({-1, -1, sizes_.dim}));
}

torch::Tensor CausalLM::first_tokens(const torch::Tensor& source,
                                     const torch::Tensor& source_lengths) const {
  check_source(source, source_lengths, sizes_.vocab);
  return source.gather(1, (source_lengths - 1).unsqueeze(1)).squeeze(1);
}

std::unique_ptr<DecodingState> CausalLM::start(const torch::Tensor& source,
                                               const torch::Tensor& source_lengths,
                                               std::int64_t max_length) {
  torch::NoGradGuard no_grad;
  check_source(source, source_lengths, sizes_.vocab);
  auto state = std::make_unique<CausalState>();
  const torch::Tensor lengths = source_lengths - 1;
  const std::int64_t longest = lengths.max().item<std::int64_t>();
  check_positions("source", longest + 1);
  std::int64_t room = longest + max_length;
  if (sizes_.max_positions > 0) room = std::min(room, sizes_.max_positions);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto empty = [&] {
      return torch::empty({source.size(0), room, sizes_.kv_heads, sizes_.head_dim},
                          embedding_->weight.options());
    };
    state->caches.push_back({{empty(), empty()}, 0});
  }
  state->lengths = torch::zeros_like(lengths);
  if (longest > 0) extend(*state, source.narrow(1, 0, longest), 0);
  state->lengths = lengths;
  return state;
}

// Tokens (rows, n) -> what the last layer gives of the last `wanted`, (rows, wanted, dim). Rows of
// different lengths take one token each at most. The last layer's other outputs are read by nobody
// and not computed.
torch::Tensor CausalLM::extend(CausalState& state, const torch::Tensor& tokens,
                               std::int64_t wanted) {
  // Without autograd's bookkeeping, which costs as much as a small operation itself.
  const c10::InferenceMode inference;
  const std::int64_t begin = state.longest, count = tokens.size(1);
  CachePlace place{begin, begin + count, {}, {}};
  torch::Tensor positions = torch::arange(begin, begin + count, torch::kInt64).unsqueeze(0);
  if (state.lengths.min().item<std::int64_t>() != begin) {
    place.rows = state.lengths;
    place.mask = key_lengths(state.lengths + 1);
    positions = state.lengths.unsqueeze(1);
  }
  const RotaryAngles turned = angles(positions);
  torch::Tensor x = embed(tokens, positions);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    x = layers_[i]->extend(x, turned, state.caches[i].room, place, last ? wanted : count);
  }
  state.lengths = state.lengths + count;
  state.longest = begin + count;
  for (KeyValueCache& cache : state.caches) cache.length = state.longest;
  return x;
}

void CausalLM::check_next(const CausalState& state, const torch::Tensor& tokens) const {
  check_tokens("tokens", tokens, sizes_.vocab);
  check_positions("tokens", state.longest + tokens.size(1));
  if (tokens.size(0) != state.rows())
    throw std::invalid_argument("tokens: " + std::to_string(tokens.size(0)) + "; the state has " +
                                std::to_string(state.rows()) + " rows");
  if (const std::int64_t room = state.caches[0].max_length() - state.longest; tokens.size(1) > room)
    throw std::invalid_argument("tokens: " + std::to_string(tokens.size(1)) +
                                "; the state has room for " + std::to_string(room) + " more");
}

void CausalLM::advance(DecodingState& state, const torch::Tensor& tokens) {
  torch::NoGradGuard no_grad;
  CausalState& mine = causal_state(state);
  check_next(mine, tokens);
  if (mine.lengths.min().item<std::int64_t>() == mine.longest) {
    extend(mine, tokens, 0);
  } else {
    for (const torch::Tensor& column : tokens.split(1, 1)) extend(mine, column, 0);
  }
}

torch::Tensor CausalLM::read(DecodingState& state, const torch::Tensor& tokens) {
  torch::NoGradGuard no_grad;
  CausalState& mine = causal_state(state);
  check_next(mine, tokens);
  const std::int64_t count = tokens.size(1);
  const bool even = mine.lengths.min().item<std::int64_t>() == mine.longest;
  if (!even && count > 1) advance(state, tokens.narrow(1, 0, count - 1));
  const torch::Tensor x = extend(mine, even ? tokens : tokens.narrow(1, count - 1, 1), 1);
  return logits(normalize(x)).squeeze(1);
}

torch::Tensor CausalLM::step(DecodingState& state, const torch::Tensor& tokens) {
  torch::NoGradGuard no_grad;
  CausalState& mine = causal_state(state);
  check_positions("tokens", mine.longest + 1);
  check_step(tokens, mine.rows(), mine.longest, mine.caches[0].max_length(), sizes_.vocab);
  const torch::Tensor x = extend(mine, tokens.unsqueeze(1), 1);
  return logits(normalize(x)).squeeze(1);
}

torch::Tensor CausalLM::attention_weights(DecodingState&) { no_source(kind()); }

torch::Tensor CausalLM::alignment(const torch::Tensor&, const torch::Tensor&,
                                  const torch::Tensor&) {
  no_source(kind());
}

}  // namespace regard::nn
