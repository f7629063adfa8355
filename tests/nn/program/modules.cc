// SPDX-License-Identifier: Apache-2.0
#include "masks.h"
#include "regard/nn/additive_attention.h"
#include "regard/nn/luong_attention.h"
#include "regard/nn/multihead_attention.h"
#include "regard/nn/positional_encoding.h"
#include "regard/nn/rnn.h"
#include "request.h"

namespace nn = regard::nn;
using nlohmann::json;

namespace {

void multihead_attention(Request& request) {
  const json& asked = request.json;
  nn::MultiheadAttentionOptions options;
  options.dim = asked.at("dim");
  options.heads = asked.at("heads");
  options.kv_heads = asked.value("kv_heads", 0);
  options.key_dim = asked.value("key_dim", 0);
  options.value_dim = asked.value("value_dim", 0);
  options.bias = asked.value("bias", true);
  nn::MultiheadAttention module(options);
  request.load(*module);
  const nn::Mask mask = mask_of(request, asked.value("mask", json()));
  const torch::Tensor query = request.leaf("query");
  const torch::Tensor key = request.in.contains("key") ? request.leaf("key") : query;
  const torch::Tensor value = request.in.contains("value") ? request.leaf("value") : key;
  if (asked.contains("steps")) {  // one or several positions a step, through the cache
    nn::KeyValueCache cache = module->make_cache(query.size(0), asked.value("room", query.size(1)));
    std::vector<torch::Tensor> parts;
    std::int64_t at = 0;
    for (const std::int64_t count : asked["steps"]) {
      parts.push_back(module->step(query.narrow(1, at, count), cache));
      at += count;
    }
    request.out["out"] = torch::cat(parts, 1);
    return;
  }
  if (asked.value("weights", false))
    request.out["weights"] = module->weights(query, module->keys_values(key, value), mask);
  request.answer(module->forward(query, key, value, mask));
}

void additive_attention(Request& request) {
  const torch::Tensor query = request.leaf("query"), source = request.leaf("source");
  nn::AdditiveAttention module(query.size(2), source.size(2), request.json.at("dim"));
  request.load(*module);
  const nn::AttentionMemory memory = module->memory(source, request.optional("lengths"));
  request.out["weights"] = module->weights(query, memory);
  request.answer(module->forward(query, memory));
}

void luong_attention(Request& request) {
  const torch::Tensor query = request.leaf("query"), source = request.leaf("source");
  nn::LuongOptions options;
  options.score = static_cast<nn::LuongScore>(request.json.at("score").get<int>());
  options.reach = static_cast<nn::LuongReach>(request.json.at("reach").get<int>());
  options.query_dim = query.size(2);
  options.source_dim = source.size(2);
  options.window = request.json.at("window");
  options.positions = request.json.at("positions");
  nn::LuongAttention module(options);
  request.load(*module);
  const nn::AttentionMemory memory = module->memory(source, request.optional("lengths"));
  request.out["weights"] = module->weights(query, memory);
  request.answer(module->forward(query, memory));
}

void recurrent(Request& request) {
  const json& asked = request.json;
  const torch::Tensor input = request.leaf("input");
  nn::Recurrent module(nn::RecurrentOptions{static_cast<nn::Cell>(asked.at("cell").get<int>()),
                                            input.size(2), asked.at("hidden"), asked.at("layers"),
                                            asked.at("bidirectional"), 0});
  request.load(*module);
  if (!asked.value("steps", false))
    return request.answer(module->forward(input, request.optional("lengths")).first);
  nn::RecurrentState state = module->zeros(input.size(0));
  std::vector<torch::Tensor> tops;
  for (std::int64_t i = 0; i < input.size(1); ++i) {
    state = module->step(input.select(1, i), state);
    tops.push_back(state.top());
  }
  request.answer(torch::stack(tops, 1));
}

void positions(Request& request) {
  request.out["out"] = nn::sinusoidal_positions(
      request.json.at("positions"), request.json.at("dim"),
      request.json.at("halves") ? nn::SinusoidOrder::kHalves : nn::SinusoidOrder::kInterleaved);
}

}  // namespace

void run_module(Request& request) {
  const std::map<std::string, void (*)(Request&)> modules{
      {"multihead_attention", multihead_attention},
      {"additive_attention", additive_attention},
      {"luong_attention", luong_attention},
      {"recurrent", recurrent},
      {"positions", positions}};
  modules.at(request.json.at("module"))(request);
}
