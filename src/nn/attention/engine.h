// SPDX-License-Identifier: Apache-2.0
// The border between libtorch's tensors and the operators' functions (src/torch_ops), which take
// those of PyTorch's stable ABI. Both are handles of the same tensor.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "regard/nn/attention.h"

namespace regard::nn::engine {

// What a call asks for, as the operators take it. The options' tensors travel beside it, because
// autograd looks for them.
struct Call : torch::CustomClassHolder {
  std::vector<std::int64_t> ints;
  std::vector<double> floats;
  std::int64_t order = 0;
  std::shared_ptr<const Plan> plan;
};
struct Encoded {
  c10::intrusive_ptr<Call> call;
  std::vector<torch::Tensor> tensors;
};
// The options as lists; draws the seed of a dropout that has none.
Encoded encode(const AttentionOptions& options);

// (out, statistics): maximum, log-sum and, where it is wanted, lse.
std::pair<torch::Tensor, torch::Tensor> forward(const torch::Tensor& query,
                                                const torch::Tensor& key,
                                                const torch::Tensor& value, const Call& call,
                                                const std::vector<torch::Tensor>& tensors,
                                                bool lse);

// (out, lse) where no gradients are wanted: a few queries against many keys then take the engine's
// decode pass. lse is undefined unless it is wanted.
std::pair<torch::Tensor, torch::Tensor> infer(const torch::Tensor& query, const torch::Tensor& key,
                                              const torch::Tensor& value, const Call& call,
                                              const std::vector<torch::Tensor>& tensors, bool lse);

// What backward() needs of a forward pass.
struct Pass {
  torch::Tensor query, key, value, out, statistics;
};
// The gradients that `wanted` names, in order: bits 0 to 2 query, key, value; 3 + i tensors[i].
std::vector<torch::Tensor> backward(const torch::Tensor& d_out, const torch::Tensor& d_lse,
                                    const Pass& pass, const Call& call,
                                    const std::vector<torch::Tensor>& tensors, std::int64_t wanted);

torch::Tensor weights(const torch::Tensor& query, const torch::Tensor& key, const Call& call,
                      const std::vector<torch::Tensor>& tensors);
torch::Tensor rollout(const torch::Tensor& rows, const torch::Tensor& query,
                      const torch::Tensor& key, const Call& call,
                      const std::vector<torch::Tensor>& tensors, double residual);
torch::Tensor prepare_keys(const torch::Tensor& key);

}  // namespace regard::nn::engine
