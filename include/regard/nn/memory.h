// SPDX-License-Identifier: Apache-2.0
// What a decoder looks at, step after step: keys and values of a source, made ready once.
#pragma once

#include <torch/torch.h>

#include <memory>

namespace regard::nn {

class MemorySteps;

struct AttentionMemory {
  torch::Tensor keys;      // (batch, len, key_dim), as the score takes them
  torch::Tensor values;    // (batch, len, value_dim)
  torch::Tensor lengths;   // (batch): keys from there on are not seen; undefined: all are
  torch::Tensor prepared;  // additive scores: what prepare_keys() made of the keys, or undefined
  torch::Tensor v;         // additive scores: the score's own vector
  // While training: gathers what queries that come one after the other leave for the gradients of
  // keys, values and v, which are then made in one pass over the memory.
  std::shared_ptr<MemorySteps> steps;

  // The batch entries that `rows` (int64) names, in its order.
  AttentionMemory select(const torch::Tensor& rows) const {
    const auto pick = [&](const torch::Tensor& x) {
      return x.defined() ? x.index_select(0, rows) : x;
    };
    return {pick(keys), pick(values), pick(lengths), pick(prepared), v, nullptr};
  }
};

}  // namespace regard::nn
