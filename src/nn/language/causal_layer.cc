// SPDX-License-Identifier: Apache-2.0
#include "nn/language/causal_layer.h"

namespace regard::nn {

AttentionOptions CausalLayer::options(const Mask& mask) const {
  AttentionOptions options;
  options.layout = Layout::kBshd;
  options.mask = mask;
  options.scale = scale_;
  return options;
}

torch::Tensor CausalLayer::forward(const torch::Tensor& x, const RotaryAngles& angles,
                                   KeyValues* kept) {
  const Projected made = project(x, angles);
  if (kept != nullptr) *kept = {made.keys, made.values};
  AttentionOptions asked = options(causal());
  if (is_training()) asked.dropout_p = attention_dropout_;
  return finish(x, attention(made.query, made.keys, made.values, asked));
}

torch::Tensor CausalLayer::packed(const torch::Tensor& x, const RotaryAngles& angles,
                                  const Mask& mask) {
  const Projected made = project(x, angles);
  AttentionOptions asked = options(mask);
  asked.layout = Layout::kThd;
  if (is_training()) asked.dropout_p = attention_dropout_;
  const torch::Tensor attended =
      attention(made.query.squeeze(0), made.keys.squeeze(0), made.values.squeeze(0), asked);
  return finish(x, attended.unsqueeze(0));
}

torch::Tensor CausalLayer::step(const torch::Tensor& x, const RotaryAngles& angles,
                                const KeyValues& room, const torch::Tensor& lengths,
                                std::int64_t longest, const Mask& mask) {
  const Projected made = project(x, angles);
  const torch::Tensor rows = torch::arange(x.size(0), torch::kInt64);
  room.keys.index_put_({rows, lengths}, made.keys.squeeze(1));
  room.values.index_put_({rows, lengths}, made.values.squeeze(1));
  return finish(x, attention(made.query, room.keys.narrow(1, 0, longest),
                             room.values.narrow(1, 0, longest), options(mask)));
}

torch::Tensor CausalLayer::weights(const torch::Tensor& x, const RotaryAngles& angles) {
  const Projected made = project(x, angles);
  return attention_map(made.query, made.keys, options(causal()));
}

}  // namespace regard::nn
