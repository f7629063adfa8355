// SPDX-License-Identifier: Apache-2.0
#include "nn/vision/crossvit_block.h"

namespace regard::nn {

torch::nn::LayerNorm branch_norm(const CrossVitConfig& config, std::size_t branch) {
  return torch::nn::LayerNorm(
      torch::nn::LayerNormOptions({config.dims[branch]}).eps(config.norm_eps));
}

torch::Tensor CrossVitBlock::Projection::operator()(const torch::Tensor& token) {
  return linear->forward(torch::gelu(norm->forward(token)));
}

CrossVitBlock::Projection CrossVitBlock::make_projection(const std::string& name,
                                                         const CrossVitConfig& config,
                                                         std::size_t from, std::size_t to) {
  Projection made;
  made.norm = register_module(name + "_norm", branch_norm(config, from));
  made.linear =
      register_module(name + "_linear", torch::nn::Linear(config.dims[from], config.dims[to]));
  return made;
}

CrossVitBlock::CrossVitBlock(const CrossVitConfig& config) {
  for (std::size_t i = 0; i < 2; ++i) {
    const std::size_t other = 1 - i;
    const std::string number = std::to_string(i);
    TransformerLayerOptions options;
    options.dim = config.dims[i];
    options.heads = config.heads[i];
    options.feed_forward = config.feed_forwards[i];
    options.norm_first = true;
    options.activation = "gelu";
    options.dropout = config.dropout;
    options.norm_eps = config.norm_eps;
    torch::nn::ModuleList list;
    for (std::int64_t layer = 0; layer < config.layers[i]; ++layer) {
      layers_[i].emplace_back(options);
      list->push_back(layers_[i].back());
    }
    register_module("layers_" + number, list);
    there_[i] = make_projection("there_" + number, config, i, other);
    norm_[i] = register_module("norm_" + number, branch_norm(config, other));
    MultiheadAttentionOptions attention;
    attention.dim = config.dims[other];
    attention.heads = config.heads[other];
    attention.dropout = config.dropout;
    attention_[i] = register_module("attention_" + number, MultiheadAttention(attention));
    back_[i] = make_projection("back_" + number, config, other, i);
  }
}

CrossVitBlock::Branches CrossVitBlock::run_layers(const Branches& branches) {
  Branches result = branches;
  for (std::size_t i = 0; i < 2; ++i) {
    for (TransformerEncoderLayer& layer : layers_[i]) result[i] = layer->forward(result[i], {});
  }
  return result;
}

torch::Tensor CrossVitBlock::exchanged(const Branches& branches, std::size_t branch) {
  const torch::Tensor& other = branches[1 - branch];
  const torch::Tensor token = there_[branch](branches[branch].narrow(1, 0, 1));
  return torch::cat({token, other.narrow(1, 1, other.size(1) - 1)}, 1);
}

CrossVitBlock::Branches CrossVitBlock::forward(const Branches& branches) {
  const Branches made = run_layers(branches);
  Branches result;
  for (std::size_t i = 0; i < 2; ++i) {
    const torch::Tensor both = exchanged(made, i), seen = norm_[i]->forward(both);
    const torch::Tensor token =
        both.narrow(1, 0, 1) +
        attention_[i]->attend(seen.narrow(1, 0, 1), attention_[i]->keys_values(seen, seen));
    result[i] = torch::cat({back_[i](token), made[i].narrow(1, 1, made[i].size(1) - 1)}, 1);
  }
  return result;
}

CrossVitBlock::Branches CrossVitBlock::rollout(const Branches& rows, const Branches& branches) {
  std::array<std::vector<torch::Tensor>, 2> inputs;  // of each layer
  Branches made = branches;
  for (std::size_t i = 0; i < 2; ++i) {
    for (TransformerEncoderLayer& layer : layers_[i]) {
      inputs[i].push_back(made[i]);
      made[i] = layer->forward(made[i], {});
    }
  }
  Branches result{rows[0].clone(), rows[1].clone()};
  for (std::size_t i = 0; i < 2; ++i) {
    const torch::Tensor seen = norm_[i]->forward(exchanged(made, i));
    const torch::Tensor weights =
        attention_[i]
            ->weights(seen.narrow(1, 0, 1), attention_[i]->keys_values(seen, seen))
            .mean(1);                                            // (batch, 1, 1 + patches)
    const torch::Tensor token = rows[i].narrow(-1, 0, 1) * 0.5;  // half is the residual's
    const std::int64_t patches = weights.size(-1) - 1;
    result[i].narrow(-1, 0, 1).copy_(token + token * weights.narrow(-1, 0, 1));
    result[1 - i].narrow(-1, 1, patches).add_(token * weights.narrow(-1, 1, patches));
  }
  for (std::size_t i = 0; i < 2; ++i) {
    for (std::size_t layer = layers_[i].size(); layer-- > 0;) {
      result[i] = layers_[i][layer]->rollout(result[i], inputs[i][layer]);
    }
  }
  return result;
}

}  // namespace regard::nn
