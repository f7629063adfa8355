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

torch::Tensor CausalLayer::forward(const torch::Tensor& x, const RotaryAngles& angles) {
  const Projected made = project(x, angles);
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

torch::Tensor CausalLayer::extend(const torch::Tensor& x, const RotaryAngles& angles,
                                  const KeyValues& room, const CachePlace& place,
                                  std::int64_t wanted) {
  const Projected made = project(x, angles);
  const std::int64_t count = place.end - place.begin;
  if (place.rows.defined()) {
    const torch::Tensor rows = torch::arange(x.size(0), torch::kInt64);
    room.keys.index_put_({rows, place.rows}, made.keys.squeeze(1));
    room.values.index_put_({rows, place.rows}, made.values.squeeze(1));
  } else {
    room.keys.narrow(1, place.begin, count).copy_(made.keys);
    room.values.narrow(1, place.begin, count).copy_(made.values);
  }
  const auto last = [&](const torch::Tensor& all) {
    return wanted == count ? all : all.narrow(1, count - wanted, wanted);
  };
  if (wanted == 0) return last(x);
  const Mask mask = wanted > 1 ? causal() : place.mask;
  return finish(last(x), attention(last(made.query), room.keys.narrow(1, 0, place.end),
                                   room.values.narrow(1, 0, place.end), options(mask)));
}

torch::Tensor CausalLayer::weights(const torch::Tensor& x, const RotaryAngles& angles) {
  const Projected made = project(x, angles);
  return attention_map(made.query, made.keys, options(causal()));
}

}  // namespace regard::nn
