// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/llama.h"

#include <stdexcept>

#include "nn/language/llama_config.h"
#include "nn/language/llama_layer.h"
#include "nn/models/check_tokens.h"

namespace regard::nn {
namespace {

// Keys and values of every layer, with room for the prompt and the steps; row r has read
// lengths[r] tokens.
struct LlamaState final : DecodingState {
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

LlamaState& llama_state(DecodingState& state) {
  auto* mine = dynamic_cast<LlamaState*>(&state);
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

[[noreturn]] void no_source() {
  throw std::logic_error("llama: a decoder-only model has no attention to a source");
}

}  // namespace

Llama::Llama(const LlamaConfig& config) : config_(llama_config(to_json(config))) {
  embedding_ = register_module("embedding", torch::nn::Embedding(config_.vocab, config_.dim));
  torch::nn::init::normal_(embedding_->weight, 0, 0.02);
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    layers_.push_back(std::make_shared<LlamaLayer>(config_));
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  norm_ = register_parameter("norm_weight", torch::ones({config_.dim}));
  output_weight_ = embedding_->weight;
  if (!config_.tied) {
    output_weight_ =
        register_parameter("output_weight", torch::empty({config_.vocab, config_.dim}));
    torch::nn::init::normal_(output_weight_, 0, 0.02);
  }
}

Llama::~Llama() = default;

nlohmann::json Llama::config() const { return to_json(config_); }

torch::Tensor Llama::logits(const torch::Tensor& features) {
  return torch::linear(features, output_weight_);
}

std::vector<torch::Tensor> Llama::output_parameters() const { return {output_weight_}; }

std::vector<torch::Tensor> Llama::hidden_states(const torch::Tensor& tokens) {
  check_target(tokens, tokens.size(0), config_.vocab);
  const RotaryAngles angles = rotary_angles(torch::arange(tokens.size(1), torch::kInt64),
                                            rotary_frequencies(config_.head_dim, config_.rotary));
  std::vector<torch::Tensor> states = {embedding_->forward(tokens)};
  for (const auto& layer : layers_) states.push_back(layer->forward(states.back(), angles));
  states.back() = torch::rms_norm(states.back(), {config_.dim}, norm_, config_.norm_eps);
  return states;
}

torch::Tensor Llama::features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                              const torch::Tensor& target_in) {
  if (is_empty(source)) return hidden_states(target_in).back();
  check_source(source, source_lengths, config_.vocab);
  check_target(target_in, source.size(0), config_.vocab);
  const torch::Tensor all = hidden_states(joined(source, source_lengths, target_in)).back();
  const torch::Tensor places =
      (source_lengths.unsqueeze(1) + torch::arange(target_in.size(1), torch::kInt64).unsqueeze(0))
          .unsqueeze(-1);
  return all.gather(1, places.expand({-1, -1, config_.dim}));
}

torch::Tensor Llama::first_tokens(const torch::Tensor& source,
                                  const torch::Tensor& source_lengths) const {
  check_source(source, source_lengths, config_.vocab);
  return source.gather(1, (source_lengths - 1).unsqueeze(1)).squeeze(1);
}

std::unique_ptr<DecodingState> Llama::start(const torch::Tensor& source,
                                            const torch::Tensor& source_lengths,
                                            std::int64_t max_length) {
  torch::NoGradGuard no_grad;
  check_source(source, source_lengths, config_.vocab);
  auto state = std::make_unique<LlamaState>();
  state->lengths = source_lengths - 1;
  state->longest = state->lengths.max().item<std::int64_t>();
  const std::int64_t rows = source.size(0), room = state->longest + max_length;
  const torch::Tensor prompt = source.narrow(1, 0, state->longest);
  const RotaryAngles angles = rotary_angles(torch::arange(state->longest, torch::kInt64),
                                            rotary_frequencies(config_.head_dim, config_.rotary));
  torch::Tensor x = embedding_->forward(prompt);
  for (const auto& layer : layers_) {
    const auto empty = [&] {
      return torch::empty({rows, room, config_.kv_heads, config_.head_dim}, x.options());
    };
    KeyValueCache cache{{empty(), empty()}, state->longest};
    if (state->longest > 0) {
      KeyValues kept;
      x = layer->forward(x, angles, &kept);
      cache.room.keys.narrow(1, 0, state->longest).copy_(kept.keys);
      cache.room.values.narrow(1, 0, state->longest).copy_(kept.values);
    }
    state->caches.push_back(std::move(cache));
  }
  return state;
}

torch::Tensor Llama::step(DecodingState& state, const torch::Tensor& tokens) {
  torch::NoGradGuard no_grad;
  LlamaState& mine = llama_state(state);
  check_step(tokens, mine.rows(), mine.longest, mine.caches[0].max_length(), config_.vocab);
  const RotaryAngles angles = rotary_angles(mine.lengths.unsqueeze(1),
                                            rotary_frequencies(config_.head_dim, config_.rotary));
  const std::int64_t longest = mine.longest + 1;
  const bool alike = mine.lengths.min().item<std::int64_t>() == mine.longest;
  const Mask mask = alike ? Mask() : key_lengths(mine.lengths + 1);
  torch::Tensor x = embedding_->forward(tokens.unsqueeze(1));
  for (std::size_t i = 0; i < layers_.size(); ++i)
    x = layers_[i]->step(x, angles, mine.caches[i].room, mine.lengths, longest, mask);
  mine.lengths = mine.lengths + 1;
  mine.longest = longest;
  for (KeyValueCache& cache : mine.caches) cache.length = longest;
  return logits(torch::rms_norm(x, {config_.dim}, norm_, config_.norm_eps)).squeeze(1);
}

torch::Tensor Llama::attention_weights(DecodingState&) { no_source(); }

torch::Tensor Llama::alignment(const torch::Tensor&, const torch::Tensor&, const torch::Tensor&) {
  no_source();
}

}  // namespace regard::nn
