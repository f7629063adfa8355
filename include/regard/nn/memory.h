// What a decoder looks at, step after step: keys and values of a source, made ready once.
#pragma once

#include <torch/torch.h>

namespace regard::nn {

struct AttentionMemory {
  torch::Tensor keys;      // (batch, len, key_dim), as the score takes them
  torch::Tensor values;    // (batch, len, value_dim)
  torch::Tensor lengths;   // (batch): keys from there on are not seen; undefined: all are
  torch::Tensor prepared;  // additive scores: what prepare_keys() made of the keys, or undefined

  // The batch entries that `rows` (int64) names, in its order.
  AttentionMemory select(const torch::Tensor& rows) const {
    const auto pick = [&](const torch::Tensor& x) {
      return x.defined() ? x.index_select(0, rows) : x;
    };
    return {pick(keys), pick(values), pick(lengths), pick(prepared)};
  }
};

}  // namespace regard::nn
