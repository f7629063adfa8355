// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/attention.h"

#include "masks.h"
#include "request.h"

namespace nn = regard::nn;
using nlohmann::json;

namespace {

std::optional<std::int64_t> offset(const json& list, std::size_t at) {
  if (list.size() <= at || list[at].is_null()) return std::nullopt;
  return list[at].get<std::int64_t>();
}

// s <- s^3 / 10 of float tiles, and what that makes of a gradient.
void cube(const regard::FunctionTile* tile, void*) {
  auto* data = static_cast<float*>(tile->data);
  for (std::int64_t r = 0; r < tile->rows; ++r)
    for (std::int64_t c = 0; c < tile->columns; ++c) {
      float& s = data[r * tile->stride + c];
      s = s * s * s / 10;
    }
}
void cube_derivative(const regard::FunctionTile* tile, void*) {
  auto* data = static_cast<float*>(tile->data);
  const auto* scores = static_cast<const float*>(tile->scores);
  for (std::int64_t r = 0; r < tile->rows; ++r)
    for (std::int64_t c = 0; c < tile->columns; ++c) {
      const float s = scores[r * tile->stride + c];
      data[r * tile->stride + c] *= 3 * s * s / 10;
    }
}

nn::Modifier modifier_of(Request& request, const json& list) {
  const std::string kind = list[0];
  const auto tensor = [&](std::size_t at) { return request.leaf(list[at]); };
  if (kind == "cube") return nn::function(cube, cube_derivative);
  if (kind == "bias") return nn::bias(tensor(1), list.size() > 2);
  if (kind == "alibi") return nn::alibi(tensor(1));
  if (kind == "temperature") return nn::temperature(tensor(1));
  if (kind == "sinks") return nn::sinks(tensor(1));
  if (kind == "multiplier") return nn::multiplier(tensor(1));
  if (kind == "gaussian") return nn::gaussian(tensor(1), list[2]);
  if (kind == "relative_bias")
    return nn::relative_bias(tensor(1), tensor(2), tensor(3), tensor(4), list[5]);
  throw std::invalid_argument("request: modifier " + kind);
}

}  // namespace

nn::Mask mask_of(const Request& request, const json& list) {
  if (list.is_null()) return {};
  const std::string kind = list[0];
  const auto mask = [&](std::size_t at) { return mask_of(request, list[at]); };
  const auto tensor = [&](std::size_t at) { return request.tensor(list[at]); };
  if (kind == "and") return mask(1) & mask(2);
  if (kind == "or") return mask(1) | mask(2);
  if (kind == "not") return ~mask(1);
  if (kind == "causal") return nn::causal(offset(list, 1));
  if (kind == "window") return nn::window(list[1], list[2], offset(list, 3));
  if (kind == "key_lengths") return nn::key_lengths(tensor(1));
  if (kind == "documents") return nn::documents(tensor(1), tensor(2));
  if (kind == "dilated") return nn::dilated(list[1], list[2], tensor(3), offset(list, 4));
  if (kind == "global_tokens") return nn::global_tokens(tensor(1), offset(list, 2));
  if (kind == "blocks") return nn::blocks(tensor(1), list[2], list[3]);
  if (kind == "bigbird") return nn::bigbird(list[1], list[2], list[3], list[4], list[5]);
  if (kind == "prefix") return nn::prefix(tensor(1), offset(list, 2));
  if (kind == "tree") return nn::tree(tensor(1));
  if (kind == "around") return nn::around(tensor(1), list[2]);
  if (kind == "tensor") return nn::tensor_mask(tensor(1));
  throw std::invalid_argument("request: mask " + kind);
}

void run_attention(Request& request) {
  const json& asked = request.json;
  nn::AttentionOptions options;
  options.mask = mask_of(request, asked.value("mask", json()));
  for (const json& list : asked.value("modifiers", json::array()))
    options.modifiers.push_back(modifier_of(request, list));
  if (asked.contains("scale")) options.scale = asked["scale"].get<double>();
  options.softcap = asked.value("softcap", 0.0);
  options.dropout_p = asked.value("dropout_p", 0.0);
  if (asked.contains("seed")) options.seed = asked["seed"].get<std::int64_t>();
  options.layout = static_cast<nn::Layout>(asked.value("layout", 0));
  const torch::Tensor q = request.leaf("q"), k = request.leaf("k"), v = request.leaf("v");
  if (request.in.contains("additive_v")) options.additive_v = request.leaf("additive_v");
  if (asked.value("prepare", false)) options.prepared_keys = nn::prepare_keys(k);
  if (asked.value("map", false)) request.out["map"] = nn::attention_map(q, k, options);
  if (!asked.value("lse", false)) return request.answer(nn::attention(q, k, v, options));
  const auto [out, lse] = nn::attention_with_lse(q, k, v, options);
  request.out["lse"] = lse;
  request.answer((out.sum(-1) + lse) * request.tensor("through"));
}
